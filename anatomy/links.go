package anatomy

import (
	"cmp"
	"slices"
	"strings"
)

// inode is a file with all of its names.
type inode struct {
	content once
	name    *File // of a file of one name
}

func (s *side) inode() inode {
	if s.mark.Linked {
		return inode{content: s.mark.once()}
	}
	return inode{name: s.file}
}

// member is a name of a file that has several in one of two images.
type member struct {
	name     *File
	old, new inode
	// same: the old image has the same content and metadata there.
	same bool
}

// link notes a path whose file has several names.
func (d *comparison) link(old, new side) {
	if !new.isFile() || !new.mark.Linked && (!old.isFile() || !old.mark.Linked) {
		return
	}
	m := member{name: new.file, new: new.inode()}
	if old.isFile() {
		m.old = old.inode()
		m.same = sameFile(old.mark.Entry, new.mark.Entry)
		d.kept[m.old] = true
	}
	d.members = append(d.members, m)
}

// settle finds the files that a layer has to store for the sake of their names, by the
// rule of package differ: names that are one file in the old image stay as they are,
// for the first file that has them, and all names of any other file are stored.
func (d *comparison) settle() {
	slices.SortStableFunc(d.members, func(a, b member) int {
		return cmp.Or(strings.Compare(a.name.parent.Path(), b.name.parent.Path()), strings.Compare(a.name.Name, b.name.Name))
	})
	groups := map[inode][]*member{}
	var order []inode
	for i := range d.members {
		m := &d.members[i]
		if groups[m.new] == nil {
			order = append(order, m.new)
		}
		groups[m.new] = append(groups[m.new], m)
	}
	taken := map[inode]bool{}
	for _, key := range order {
		g := groups[key]
		old := g[0].old
		other := func(m *member) bool { return !m.same || m.old != old }
		if taken[old] || slices.ContainsFunc(g, other) {
			d.stored[key] = true
			continue
		}
		taken[old] = true
	}
}
