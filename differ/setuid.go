package differ

import (
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// gained counts files that were an ordinary user's in the source and act with
// root's rights in the image: setuid, or setgid, and root's by the rule that new
// files of a directory are. Whoever could write to the source could make them.
type gained struct {
	count int
	first string // by name, the path in the image
}

// rights are the owner and group that a regular file acts with, 0 where it
// acts with those of whoever runs it, and whether it does so at all.
func rights(e *tree.Entry) (uid, gid uint32, setuid, setgid bool) {
	if !e.IsRegular() {
		return 0, 0, false, false
	}
	// Without the right to execute, the bit is no setgid.
	return e.UID, e.GID, e.Mode&unix.S_ISUID != 0, e.Mode&unix.S_ISGID != 0 && e.Mode&unix.S_IXGRP != 0
}

// shapeFound is [Target.shape] that reports whether the entry gains root's
// rights without anybody's having said so.
func (t *Target) shapeFound(d, cur *tree.Entry) (gains bool) {
	uid, gid, setuid, setgid := rights(d)
	t.shape(d, cur)
	if t.Owner == OwnerSource || t.Owner == OwnerRoot || t.Chown != nil || !setuid && !setgid {
		return false
	}
	newUID, newGID, stillUID, stillGID := rights(d)
	return setuid && stillUID && uid != 0 && newUID == 0 || setgid && stillGID && gid != 0 && newGID == 0
}

// noteGained notes a file that is a change and gains root's rights.
func (w *walker) noteGained(v visit, name string) {
	path := "/" + joinPath(v.path, name)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gained.count++
	if w.gained.count == 1 || path < w.gained.first {
		w.gained.first = path
	}
}

// warnGained warns once, however many there are.
func (w *walker) warnGained() {
	switch n := w.gained.count; n {
	case 0:
	case 1:
		w.warn("%s is setuid or setgid and an ordinary user's in the source, and root's in the image, so that it runs with root's rights; if that is not meant, use chmod=, chown= or owner=source", quote(w.gained.first))
	default:
		w.warn("%d files are setuid or setgid and ordinary users' in the source, and root's in the image, so that they run with root's rights, %s the first; if that is not meant, use chmod=, chown= or owner=source", n, quote(w.gained.first))
	}
}
