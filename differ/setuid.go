package differ

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// gained counts files that did not have root's rights in the source, and have them
// in the image. Such a file is setuid or setgid, belongs to an ordinary user, and
// gets root as its owner or group only because new files do so by default. Anybody
// who can write to the source can make such a file.
type gained struct {
	count int
	first string // the first of their paths in the image
}

// rights returns which owner and group a regular file runs with: setuid and setgid
// report whether it runs with its own. For other files all results are zero.
func rights(e *tree.Entry) (uid, gid uint32, setuid, setgid bool) {
	if !e.IsRegular() {
		return 0, 0, false, false
	}
	// Without the group's permission to execute, the bit does not mean setgid.
	return e.UID, e.GID, e.Mode&unix.S_ISUID != 0, e.Mode&unix.S_ISGID != 0 && e.Mode&unix.S_IXGRP != 0
}

// shapeFound is [Target.shape], and reports whether the entry gains root's rights
// without an owner rule that the user chose.
func (t *Target) shapeFound(d, cur *tree.Entry) (gains bool) {
	uid, gid, setuid, setgid := rights(d)
	t.shape(d, cur)
	if t.Owner == OwnerSource || t.Owner == OwnerRoot || t.Chown != nil || !setuid && !setgid {
		return false
	}
	newUID, newGID, stillUID, stillGID := rights(d)
	return setuid && stillUID && uid != 0 && newUID == 0 || setgid && stillGID && gid != 0 && newGID == 0
}

// noteGained counts a changed file that gains root's rights.
func (w *walker) noteGained(v visit, name string) {
	one := gained{count: 1, first: "/" + joinPath(v.path, name)}
	w.noteIn(v.rel, func(f *found) { f.gained.add(one) })
}

func (g *gained) add(other gained) {
	if g.count == 0 || other.count > 0 && other.first < g.first {
		g.first = other.first
	}
	g.count += other.count
}

// gainedWarning is one warning for all these files; empty: there are none.
func (w *walker) gainedWarning() string {
	var all gained
	for _, f := range w.found {
		all.add(f.gained)
	}
	switch all.count {
	case 0:
		return ""
	case 1:
		return w.target.Name + ": " + fmt.Sprintf("%s is setuid or setgid and an ordinary user's in the source, and root's in the image, so that it runs with root's rights; if that is not meant, use chmod=, chown= or owner=source", quote(all.first))
	}
	return w.target.Name + ": " + fmt.Sprintf("%d files are setuid or setgid and ordinary users' in the source, and root's in the image, so that they run with root's rights, %s the first; if that is not meant, use chmod=, chown= or owner=source", all.count, quote(all.first))
}
