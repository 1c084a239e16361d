package disk

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/eintr"
)

// statMask selects the fields that entries and stamps are made of.
const statMask = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_NLINK | unix.STATX_UID | unix.STATX_GID |
	unix.STATX_MTIME | unix.STATX_CTIME | unix.STATX_INO | unix.STATX_SIZE

// statxAt calls statx(2) on a name in a directory, without following links. It
// takes a name with its final NUL, so that no copy is made: it is called for every
// name in a listing.
func statxAt(fd int, name cString, st *unix.Statx_t) error {
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(unsafe.StringData(string(name)))),
			unix.AT_SYMLINK_NOFOLLOW, statMask, uintptr(unsafe.Pointer(st)), 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// cString is a string with one NUL, at its end.
type cString string

// text returns the string without the NUL.
func (c cString) text() string { return string(c[:len(c)-1]) }

func entryOf(name string, st *unix.Statx_t) tree.Entry {
	e := tree.Entry{
		Name: name,
		Meta: tree.Meta{
			Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid,
			MTime: st.Mtime.Sec, MTimeNsec: int32(st.Mtime.Nsec),
		},
		Stamp: tree.Stamp{
			Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino,
			CTime: st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec), MTime: st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec),
		},
	}
	switch e.Type() {
	case unix.S_IFREG:
		e.Size = int64(st.Size)
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Rdev = unix.Mkdev(st.Rdev_major, st.Rdev_minor)
	}
	if st.Nlink > 1 && !e.IsDir() {
		e.Inode = tree.Inode{Dev: e.Stamp.Dev, Ino: e.Stamp.Ino}
	}
	return e
}

// statxFD calls statx(2) on an open file.
func statxFD(fd int, st *unix.Statx_t) error {
	_, err := eintr.Retry(func() (int, error) { return 0, unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, st) })
	return err
}

// stampOf returns the stamp in a result of fstat(2).
func stampOf(st *unix.Stat_t) tree.Stamp {
	return tree.Stamp{Dev: uint64(st.Dev), Ino: st.Ino, CTime: st.Ctim.Nano(), MTime: st.Mtim.Nano()}
}
