package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/continuity/sysx"
	"golang.org/x/sys/unix"
)

const (
	paxXattr   = "SCHILY.xattr."
	permission = 0o7777
)

// own returns what is used of a header, with a clean name. The strings of a header from a
// tar may be small parts of a megabyte that the tar says about the entry, which they would
// keep in memory.
func own(h *tar.Header) *tar.Header {
	name := filepath.Clean(h.Name)
	for strings.HasPrefix(name, "../") { // Above the root is the root.
		name = name[len("../"):]
	}
	o := &tar.Header{
		Typeflag: h.Typeflag, Name: strings.Clone(name), Linkname: strings.Clone(h.Linkname), Size: h.Size, Mode: h.Mode,
		Uid: h.Uid, Gid: h.Gid, ModTime: h.ModTime, AccessTime: h.AccessTime, Devmajor: h.Devmajor, Devminor: h.Devminor,
	}
	for key, value := range h.PAXRecords {
		if !strings.HasPrefix(key, paxXattr) {
			continue
		}
		if o.PAXRecords == nil {
			o.PAXRecords = map[string]string{}
		}
		o.PAXRecords[strings.Clone(key)] = strings.Clone(value)
	}
	return o
}

// textOf is how much text a header that was made by own has.
func textOf(h *tar.Header) int {
	n := len(h.Name) + len(h.Linkname)
	for key, value := range h.PAXRecords {
		n += len(key) + len(value)
	}
	return n
}

// inherit gives a directory the owner, the mode, the times and the attributes of
// another one.
func inherit(fd int, from string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: from, Err: err}
	}
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return &fs.PathError{Op: "chown as", Path: from, Err: err}
	}
	if err := unix.Fchmod(fd, st.Mode&permission); err != nil {
		return &fs.PathError{Op: "chmod as", Path: from, Err: err}
	}
	if err := setTimes(fd, ".", []unix.Timespec{st.Atim, st.Mtim}); err != nil {
		return &fs.PathError{Op: "set times as", Path: from, Err: err}
	}
	names, err := sysx.LListxattr(from)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, sysx.ENODATA) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "list xattrs", Path: from, Err: err}
	}
	for _, name := range names {
		if err := inheritXattr(fd, from, name); err != nil {
			return fmt.Errorf("copy xattr %q of %s: %w", name, from, err)
		}
	}
	return nil
}

func inheritXattr(fd int, from, name string) error {
	if strings.HasPrefix(name, "trusted.") {
		return nil
	}
	value, err := sysx.LGetxattr(from, name)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, sysx.ENODATA) {
		return nil
	}
	if err != nil {
		return err
	}
	err = unix.Fsetxattr(fd, name, value, unix.XATTR_CREATE)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// xattrs calls set for the extended attributes of an entry. Errors that containerd
// ignores are ignored. plain says that the entry is a regular file or a directory.
func xattrs(h *tar.Header, plain bool, set func(name string, value []byte) error) error {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || strings.HasPrefix(name, "trusted.") {
			continue
		}
		err := set(name, []byte(value))
		switch {
		case err == nil, errors.Is(err, unix.ENOTSUP):
		case errors.Is(err, unix.EPERM) && strings.HasPrefix(name, "user.") && !plain:
			// Only regular files and directories can have them (xattr(7)).
		default:
			return fmt.Errorf("set xattr %q: %w", name, err)
		}
	}
	return nil
}

// finishOpen sets the metadata of a file or directory that is open. st is its state
// before anything was written to it if it is new, and nil otherwise.
func finishOpen(fd int, h *tar.Header, st *unix.Stat_t) error {
	owned := st != nil && sameID(st.Uid, h.Uid) && sameID(st.Gid, h.Gid)
	if !owned {
		if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
			return chownError(h, err)
		}
	}
	if len(h.PAXRecords) > 0 {
		err := xattrs(h, true, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) })
		if err != nil {
			return err
		}
	}
	// An access control list among the attributes has changed the mode.
	if mode := modeOf(h); st == nil || len(h.PAXRecords) > 0 || st.Mode&permission != mode {
		if err := unix.Fchmod(fd, mode); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	return nil
}

// sameID reports whether a file of that owner need not be changed to have the other
// one, of which -1 means that it is not to be changed.
func sameID(has uint32, wants int) bool {
	return has == uint32(wants) || uint32(wants) == math.MaxUint32
}

func chownError(h *tar.Header, err error) error {
	return fmt.Errorf("change owner to %d:%d: %w", h.Uid, h.Gid, err)
}

func modeOf(h *tar.Header) uint32 { return uint32(h.Mode) & permission }

// finishNamed sets the metadata of what is not open, by its name in a directory.
func finishNamed(d *dir, name string, h *tar.Header) error {
	if err := unix.Fchownat(d.fd, name, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return chownError(h, err)
	}
	if err := namedXattrs(d, name, h); err != nil {
		return err
	}
	isLink := h.Typeflag == tar.TypeSymlink
	if h.Typeflag == tar.TypeLink {
		var st unix.Stat_t
		if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("stat: %w", err)
		}
		isLink = st.Mode&unix.S_IFMT == unix.S_IFLNK
	}
	if !isLink {
		if err := unix.Fchmodat(d.fd, name, modeOf(h), 0); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	return setTimes(d.fd, name, timesOf(h))
}

func namedXattrs(d *dir, name string, h *tar.Header) error {
	if len(h.PAXRecords) == 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	kind := st.Mode & unix.S_IFMT
	path := fmt.Sprintf("/proc/self/fd/%d/%s", d.fd, name)
	return xattrs(h, kind == unix.S_IFREG || kind == unix.S_IFDIR, func(name string, value []byte) error {
		return unix.Lsetxattr(path, name, value, 0)
	})
}

func setTimes(at int, name string, times []unix.Timespec) error {
	if err := unix.UtimesNanoAt(at, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// timesOf returns the times of an entry that are set: of access, which is no earlier,
// and of modification.
func timesOf(h *tar.Header) []unix.Timespec {
	atime := h.AccessTime
	if atime.Before(h.ModTime) {
		atime = h.ModTime
	}
	return []unix.Timespec{timespec(atime), timespec(h.ModTime)}
}

// timespec returns a time, or that of 1970 if it is before that or after 2262.
func timespec(t time.Time) unix.Timespec {
	if t.Before(time.Unix(0, 0)) || t.After(time.Unix(0, math.MaxInt64)) {
		t = time.Unix(0, 0)
	}
	return unix.NsecToTimespec(t.UnixNano())
}
