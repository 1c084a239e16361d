package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Prefixes of the names of directories that processes make in os.TempDir.
const (
	tempMountPrefix  = "veneer-mount-"  // a mount point
	tempStoresPrefix = "veneer-stores-" // stores that end with the process
)

// tempDir is a directory in os.TempDir that nobody else may enter. Its lock ends with
// the process. That is how [SweepTemp] finds directories of killed processes.
type tempDir struct {
	path string
	lock *os.File
}

func makeTemp(prefix string) (*tempDir, error) {
	path, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &tempDir{path, lock}, nil
}

// lockDir returns a file that holds the directory's lock. If another process has it,
// the error is unix.EWOULDBLOCK. On a file system without locks there is no lock and
// no error.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENOLCK) {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// TempStores makes a directory for stores that end with this process. remove removes
// it with everything in it. If the process is killed, [SweepTemp] does that later.
func TempStores() (dir string, remove func() error, err error) {
	t, err := makeTemp(tempStoresPrefix)
	if err != nil {
		return "", nil, fmt.Errorf("make temporary stores: %w", err)
	}
	return t.path, func() error { return errors.Join(os.RemoveAll(t.path), t.lock.Close()) }, nil
}

// SweepTemp removes what this user's killed processes left in os.TempDir, and returns
// the paths. It leaves what is in use or mounted, and goes on after an error.
func SweepTemp() ([]string, error) { return sweepTemp(removeMountPoint, removeStores) }

// LeftTemp returns the paths that [SweepTemp] would remove, and removes nothing.
func LeftTemp() ([]string, error) {
	look := func(string) error { return nil }
	return sweepTemp(look, look)
}

func sweepTemp(mountPoint, stores func(path string) error) ([]string, error) {
	var removed []string
	var errs []error
	for prefix, remove := range map[string]func(string) error{
		tempMountPrefix:  mountPoint,
		tempStoresPrefix: stores,
	} {
		// The names are such that no pattern can be wrong.
		found, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
		for _, path := range found {
			ok, err := sweepOne(path, remove)
			errs = append(errs, err)
			if ok {
				removed = append(removed, path)
			}
		}
	}
	return removed, errors.Join(errs...)
}

func sweepOne(path string, remove func(string) error) (removed bool, err error) {
	lock, err := lockDir(path)
	if err != nil {
		return false, nil // It is in use, another user's, gone, or no directory.
	}
	defer lock.Close() // only read
	var st unix.Stat_t
	if err := unix.Fstat(int(lock.Fd()), &st); err != nil || int(st.Uid) != os.Geteuid() {
		return false, err
	}
	if err := remove(path); err != nil {
		return false, fmt.Errorf("remove what a killed process left: %w", err)
	}
	return true, nil
}

// removeMountPoint removes empty directories only. So nothing is lost if something is
// still mounted there.
func removeMountPoint(path string) error {
	for _, dir := range []string{filepath.Join(path, mountPoint), path} {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}

// removeStores removes everything, unless something is mounted below.
func removeStores(path string) error {
	found, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
	if err != nil {
		return err
	}
	for _, m := range found {
		return fmt.Errorf("%s is still mounted: %w", m.Mountpoint, unix.EBUSY)
	}
	return os.RemoveAll(path)
}
