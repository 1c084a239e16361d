package dockerfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine/run"
)

// CacheDir is the directory of one RUN --mount=type=cache.
type CacheDir struct {
	Path  string
	Used  time.Time
	Bytes int64
}

// CacheDirs returns those below an engine's root, the last used first.
func CacheDirs(root string) ([]CacheDir, error) {
	dir := filepath.Join(root, cacheMounts)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []CacheDir
	for _, e := range entries {
		c := CacheDir{Path: filepath.Join(dir, e.Name())}
		if st, err := os.Stat(filepath.Join(c.Path, "lock")); err == nil {
			c.Used = st.ModTime()
		}
		err := filepath.WalkDir(c.Path, func(_ string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // It is in use.
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				c.Bytes += info.Size()
			}
			return nil // A file that went has no size.
		})
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b CacheDir) int { return b.Used.Compare(a.Used) })
	return all, nil
}

// Remove removes the directory, unless a step uses it.
func (c CacheDir) Remove() (removed bool, err error) {
	f, err := os.Open(filepath.Join(c.Path, "lock"))
	if err == nil {
		defer f.Close() // only read
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return false, nil // It is in use.
		}
	}
	return true, os.RemoveAll(c.Path)
}

// SweepMemory removes the secrets and sockets that this user's killed builds left
// in memory. In a user namespace they ended with the builds, and only the directories
// below the engine's root are left. Nobody else uses that meanwhile. It goes on after
// an error.
func SweepMemory(ctx context.Context, root string) error {
	if !run.InUserNamespace() {
		return sweepMemory(ctx, runtimeDir)
	}
	// The names are such that no pattern can be wrong.
	found, _ := filepath.Glob(filepath.Join(root, namespacedMemory, memoryPrefix+"*"))
	var errs []error
	for _, dir := range found {
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(errs...)
}

func sweepMemory(ctx context.Context, in string) error {
	// The names are such that no pattern can be wrong. Without a lock there is
	// nothing in it yet.
	found, _ := filepath.Glob(filepath.Join(in, memoryPrefix+"*", "lock"))
	var errs []error
	for _, f := range found {
		dir := filepath.Dir(f)
		lock, err := lockDir(ctx, dir, pb.CacheSharingOpt_PRIVATE)
		if errors.Is(err, fs.ErrPermission) || lock == nil && err == nil {
			continue // Another user's, or in use.
		}
		if err == nil {
			err = errors.Join(os.RemoveAll(dir), lock.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
