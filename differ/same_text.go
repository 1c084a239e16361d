package differ

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

func linkText(path, first string) string {
	if path == first {
		return "a file of its own"
	}
	return "one file with " + quote("/"+first)
}

func octal(mode uint32) string { return fmt.Sprintf("%04o", mode&^unix.S_IFMT) }

func ownerText(e *tree.Entry) string { return fmt.Sprintf("%d:%d", e.UID, e.GID) }

func timeText(e *tree.Entry) string { return e.ModTime().Format("2006-01-02T15:04:05.999999999Z") }

func digestText(d tree.Digest) string { return fmt.Sprintf("sha256:%x", d[:]) }

func deviceText(rdev uint64) string { return fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev)) }

func valueText(v string, there bool) string {
	const most = 64
	switch {
	case !there:
		return "absent"
	case len(v) > most:
		return fmt.Sprintf("%q and %d more bytes", v[:most], len(v)-most)
	}
	return fmt.Sprintf("%q", v)
}

func typeName(typ uint32) string {
	switch typ {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFCHR:
		return "character device"
	case unix.S_IFBLK:
		return "block device"
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "unknown type"
}
