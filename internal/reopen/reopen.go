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
// use the name that was given to Look.
func Open(f *os.File, flags int) (*os.File, error) {
	opened, err := os.OpenFile(Path(f), flags, 0)
	if err != nil {
		var why *os.PathError
		if errors.As(err, &why) {
			why.Path = f.Name() // what people know it by
		}
		return nil, err
	}
	return opened, nil
}

// Path returns a name for the file that f refers to. It is valid while f is open.
func Path(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
