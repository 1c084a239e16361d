package reopen

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Look refers to what has the name, through links unless flags have O_NOFOLLOW,
// without opening it. The caller closes it.
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

// Open opens what f, of [Look], refers to, under the name that it was looked
// at by. f stays the caller's.
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

// Path is a name of what f refers to, for as long as f is open.
func Path(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
