package reopen

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Look returns a descriptor for the file with a name, and does not open the file.
// It follows symbolic links unless flags contain O_NOFOLLOW. The caller closes it.
func Look(name string, flags int) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(name, unix.O_PATH|flags, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// Open opens the file that f refers to. f comes from [Look] and stays open. Errors
// use the name that was given to Look, also those of the file that is returned.
func Open(f *os.File, flags int) (*os.File, error) {
	opened, err := os.OpenFile(Path(f), flags, 0)
	if err != nil {
		var why *os.PathError
		if errors.As(err, &why) {
			why.Path = f.Name() // what people know it by
		}
		return nil, err
	}
	return named(opened, f.Name())
}

// named gives an open file another name. What waits for a pipe can still be ended by
// closing it: like [os.OpenFile], [os.NewFile] makes that so for a descriptor that
// does not block.
func named(f *os.File, name string) (_ *os.File, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	raw, err := f.SyscallConn() // Fd would make the descriptor block.
	if err != nil {
		return nil, err
	}
	var same int
	var dupErr error
	err = raw.Control(func(fd uintptr) { same, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return os.NewFile(uintptr(same), name), nil
}

// Path returns a name for the file that f refers to. It is valid while f is open.
func Path(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
