// Package tempfile makes files that have no name yet, so that a process that is
// killed leaves nothing behind.
//
// Not every file system can do that. On one that cannot, a file has a temporary
// name from the beginning.
package tempfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Create makes a file in a directory, for reading and writing. Where it cannot
// be without a name, it is called name and named is true: then it is the caller
// who removes or renames it. The errors of the file's methods call it shown. The
// caller closes the file.
func Create(dir, name, shown string, perm fs.FileMode) (f *os.File, named bool, err error) {
	fd, err := open(dir, unix.O_TMPFILE, perm)
	if err != nil {
		named = true
		fd, err = open(filepath.Join(dir, name), unix.O_CREAT|unix.O_EXCL, perm)
	}
	if err != nil {
		return nil, false, &fs.PathError{Op: "create file in", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), shown), named, nil
}

func open(path string, flags int, perm fs.FileMode) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|flags, uint32(perm.Perm()))
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// Link gives a name to a file that has none. A name that is taken already is an
// error that wraps [fs.ErrExist].
func Link(f *os.File, path string) error {
	from := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	return os.NewSyscallError("linkat", unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW))
}

// Unnamed makes a file in a directory that only its owner can open and that
// never has a name. It is gone when it is closed.
func Unnamed(dir string) (*os.File, error) {
	name := "veneer-spool-" + rand.Text()
	f, named, err := Create(dir, name, dir+"/(unnamed)", 0o600)
	if err != nil || !named {
		return f, err
	}
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
