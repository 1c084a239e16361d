package tree

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// special maps st_mode's bits above the permissions to Go's.
var special = [...]struct {
	unix uint32
	fs   fs.FileMode
}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}}

// FileMode is st_mode in Go's form. Of the types it knows directories alone.
func FileMode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	if m&unix.S_IFMT == unix.S_IFDIR {
		out |= fs.ModeDir
	}
	for _, s := range special {
		if m&s.unix != 0 {
			out |= s.fs
		}
	}
	return out
}

// UnixMode is st_mode, without the type, of a mode in Go's form.
func UnixMode(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	for _, s := range special {
		if m&s.fs != 0 {
			out |= s.unix
		}
	}
	return out
}
