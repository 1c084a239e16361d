package veneer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/durable"
	"github.com/veneer-build/veneer/internal/reopen"
	"github.com/veneer-build/veneer/snapshot/unpack"
)

// ExportDir is [Export] into a directory, which must be empty or not exist. Below it
// everything is as in a container of the image, so only root can do that. The
// directory gets its name when it has all files and they are on the disk; a directory
// that something is mounted on is filled in place, and emptied again after an error. A
// killed process leaves a directory of a name like .NAME.RANDOM beside it, which the next
// export to the name removes.
func ExportDir(ctx context.Context, e *engine.Engine, dir string, req ExportRequest) (*Exported, error) {
	if os.Geteuid() != 0 {
		return nil, &Error{Kind: ErrNotRoot, Op: opExportTo, Path: dir, Err: fmt.Errorf("%w, since files get their owners", ErrNotRoot)}
	}
	p, err := openPendingDir(dir)
	if errors.Is(err, ErrNotEmpty) {
		return nil, &Error{Kind: ErrNotEmpty, Op: opExportTo, Path: dir, Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("export to %s: %w", dir, err)
	}
	done, err := export(ctx, e, req, func(write func(io.Writer) error) error {
		return pipeTar(write, func(r io.Reader) error {
			return unpack.Apply(ctx, r, unpack.Target{Dir: p.path()})
		})
	})
	if err == nil {
		err = p.commit()
	}
	if err = errors.Join(err, p.close()); err != nil {
		return nil, fmt.Errorf("export to %s: %w", dir, err)
	}
	return done, nil
}

// opExportTo is the Op of errors of [ExportDir].
const opExportTo = "export to"

// pendingDir is a directory that gets its name when it is full.
type pendingDir struct {
	// parent has the directory, under temp until it is called base.
	parent     *os.File
	temp, base string
	// mounted: the directory is filled in place. Else lock is the directory, with a lock
	// that says that a process fills it.
	mounted bool
	lock    *os.File
	done    bool
}

func openPendingDir(name string) (_ *pendingDir, err error) {
	// A link to a directory stays, and what it leads to is filled.
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	if name, err = filepath.Abs(name); err != nil {
		return nil, err
	}
	p := &pendingDir{base: filepath.Base(name)}
	if p.parent, _, err = reopen.Look(filepath.Dir(name), unix.O_DIRECTORY); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.parent.Close())
		}
	}()
	p.mounted, err = emptyDir(filepath.Join(reopen.Path(p.parent), p.base))
	if err != nil {
		return nil, err
	}
	p.temp = p.base
	if p.mounted {
		return p, nil
	}
	if err := p.removeLeft(); err != nil {
		return nil, err
	}
	return p, p.make()
}

// make makes the temporary directory, and locks it. One that another process took for
// left behind, before it had its lock, is made again.
func (p *pendingDir) make() error {
	for {
		p.temp = "." + p.base + "." + rand.Text()
		if err := os.Mkdir(p.path(), 0o700); err != nil {
			return withoutPath(err)
		}
		lock, err := os.Open(p.path())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return withoutPath(err)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			return errors.Join(os.NewSyscallError("flock", err), lock.Close())
		}
		if _, err := os.Lstat(p.path()); err == nil {
			p.lock = lock
			return nil
		}
		if err := lock.Close(); err != nil {
			return err
		}
	}
}

// removeLeft removes the directories that killed processes have left: of this user, and
// not locked.
func (p *pendingDir) removeLeft() error {
	list, err := os.ReadDir(reopen.Path(p.parent))
	if err != nil {
		return withoutPath(err)
	}
	for _, e := range list {
		text, ours := strings.CutPrefix(e.Name(), "."+p.base+".")
		if !ours || !e.IsDir() || len(text) != len(rand.Text()) || strings.Trim(text, base32) != "" {
			continue
		}
		if err := p.removeUnlocked(e.Name()); err != nil {
			return fmt.Errorf("remove %s, which a killed process has left: %w", e.Name(), err)
		}
	}
	return nil
}

// base32 are the letters of [rand.Text].
const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

func (p *pendingDir) removeUnlocked(name string) error {
	fd, err := unix.Openat(int(p.parent.Fd()), name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // Another one was faster.
	}
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close() // only read
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if int(st.Uid) != os.Geteuid() || unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	return withoutPath(os.RemoveAll(filepath.Join(reopen.Path(p.parent), name)))
}

// emptyDir checks that there is an empty directory or nothing, and reports whether a
// file system is mounted there.
func emptyDir(path string) (mounted bool, err error) {
	list, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, withoutPath(err)
	}
	if len(list) > 0 {
		return false, ErrNotEmpty
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return false, os.NewSyscallError("statx", err)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// withoutPath is an error without the path by which people do not know the file.
func withoutPath(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return os.NewSyscallError(at.Op, at.Err)
	}
	return err
}

func (p *pendingDir) path() string { return filepath.Join(reopen.Path(p.parent), p.temp) }

// commit makes the files durable and gives the directory its name.
func (p *pendingDir) commit() error {
	if err := os.Chmod(p.path(), 0o755); err != nil { // as a container's root directory
		return withoutPath(err)
	}
	f, err := os.Open(p.path())
	if err != nil {
		return withoutPath(err)
	}
	err = os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if !p.mounted {
		// It replaces an empty directory only.
		parent := int(p.parent.Fd())
		if err := unix.Renameat(parent, p.temp, parent, p.base); err != nil {
			return os.NewSyscallError("renameat", err)
		}
	}
	p.done = true
	return durable.SyncDir(reopen.Path(p.parent))
}

// close removes what commit has not made last.
func (p *pendingDir) close() error {
	parent, lock := p.parent, p.lock
	defer parent.Close() // only read
	if lock != nil {
		defer lock.Close() // only read
	}
	if p.done {
		return nil
	}
	if !p.mounted {
		return withoutPath(os.RemoveAll(p.path()))
	}
	list, err := os.ReadDir(p.path())
	errs := []error{withoutPath(err)}
	for _, e := range list {
		errs = append(errs, withoutPath(os.RemoveAll(filepath.Join(p.path(), e.Name()))))
	}
	return errors.Join(errs...)
}

// pipeTar has a tar read while it is written.
func pipeTar(write func(io.Writer) error, read func(io.Reader) error) error {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := write(w)
		_ = w.CloseWithError(err) // Never fails.
		done <- err
	}()
	err := read(r)
	if err == nil {
		// What follows the end of the archive must be read for the writer to end.
		_, err = io.Copy(io.Discard, r)
	}
	_ = r.CloseWithError(err) // Never fails.
	if werr := <-done; werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
		return werr
	}
	return err
}
