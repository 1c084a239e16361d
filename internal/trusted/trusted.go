package trusted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ErrForeign is what is wrong with a directory that others may write to.
var ErrForeign = errors.New("what is in it cannot be trusted")

// Check is nil for a directory that is this user's or root's and that no others
// may write to, and for one that does not exist. Else it is an error that wraps
// [ErrForeign], or says why it could not be looked at. A link's directory counts.
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
