package trusted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ErrForeign means that other users may write to a directory.
var ErrForeign = errors.New("what is in it cannot be trusted")

// Check returns nil if a directory belongs to this user or root and nobody else
// may write to it, or if it does not exist. Else the error wraps [ErrForeign], or
// says why the directory could not be checked. Symbolic links are followed.
func Check(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !info.IsDir():
		return &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, and this is user %d: %w", dir, st.Uid, os.Geteuid(), ErrForeign)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to %s (mode %#o): %w", dir, info.Mode().Perm(), ErrForeign)
	}
	return nil
}
