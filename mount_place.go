package veneer

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/reopen"
	"github.com/veneer-build/veneer/internal/trusted"
	"github.com/veneer-build/veneer/snapshot"
)

// mountPlace is an empty directory that something will be mounted on. It is locked, so that
// two processes do not mount on the same.
type mountPlace struct {
	path string
	// dir is open without being in use, and lock is what has the lock.
	dir, lock *os.File
	// made: it did not exist.
	made    bool
	mounted bool
}

func openMountPlace(dir string) (_ *mountPlace, err error) {
	const op = "mount on"
	p := &mountPlace{}
	if p.dir, p.made, err = trusted.MakeDir(dir); err != nil {
		return nil, foreignPlace(op, dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.path, err = os.Readlink(reopen.Path(p.dir)); err != nil {
		return nil, err
	}
	if p.lock, err = reopen.Open(p.dir, os.O_RDONLY|unix.O_DIRECTORY); err != nil {
		return nil, fmt.Errorf("%s %s: %w", op, dir, err)
	}
	if err := unix.Flock(int(p.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &Error{Kind: ErrMountBusy, Op: op, Path: p.path, Err: fmt.Errorf("another process is at it: %w", ErrMountBusy)}
	}
	mounts, err := snapshot.ListMounts()
	if err != nil {
		return nil, err
	}
	if there := mounts.Top(p.path); there != nil {
		return nil, &Error{Kind: ErrMountedOn, Op: op, Path: p.path, Err: fmt.Errorf("%w: %s", ErrMountedOn, there.Source)}
	}
	list, err := p.lock.Readdirnames(1)
	if len(list) > 0 {
		return nil, &Error{Kind: ErrNotEmpty, Op: op, Path: p.path, Err: ErrNotEmpty}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s %s: %w", op, dir, err)
	}
	return p, nil
}

// close lets go of the directory, and removes it if it was made in vain.
func (p *mountPlace) close() error {
	var errs []error
	if p.made && !p.mounted {
		errs = append(errs, os.Remove(p.path))
	}
	for _, f := range []*os.File{p.lock, p.dir} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// foreignPlace gives the error of a path that others can lead elsewhere its kind.
func foreignPlace(op, path string, err error) error {
	if errors.Is(err, ErrForeign) {
		return &Error{Kind: ErrForeign, Op: op, Path: path, Err: err}
	}
	return fmt.Errorf("%s %s: %w", op, path, err)
}
