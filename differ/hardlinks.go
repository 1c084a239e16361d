package differ

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/differ/tree"
)

// member is a name of a file that has several names, in the source or in the base.
type member struct {
	path string // the directory's, in the image
	src  tree.Dir
	p    *pair
	// rewritten: its node is that of its group.
	rewritten bool
}

func (w *walker) addMember(v visit, p *pair) {
	// A copy, since p would keep the list of its whole directory in cache.
	kept := &pair{src: retained(p.src), base: retained(p.base), reason: p.reason}
	m := &member{path: v.path, src: v.src, p: kept}
	w.noteIn(v.rel, func(f *found) {
		f.members = append(f.members, m)
		if w.following != nil {
			w.following.stale = true
		}
	})
}

// members returns all of the target's, in the order of their paths.
func (w *walker) members() []*member {
	var all []*member
	for _, f := range w.found {
		all = append(all, f.members...)
	}
	slices.SortFunc(all, func(a, b *member) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.p.src.Name, b.p.src.Name))
	})
	return all
}

// settle makes the image's hard links those of the source. Names of one file in the
// source become names of one file in the image. Names of one file in the base that
// are separate files in the source become separate. Only names that the target
// shows change: other names of a base file stay.
//
// A group of names that is one file in the base already needs no change. Any other
// group is written whole, its content once and a hard link for each further name,
// since a layer can only link to entries of its own.
func (w *walker) settle(ctx context.Context) error {
	kept := make(map[tree.Inode]bool) // base files that are still used by a group
	for _, g := range linkGroups(w.members()) {
		inode, same := sharedBase(g)
		if same && (inode == (tree.Inode{}) || !kept[inode]) {
			kept[inode] = true
			continue
		}
		if len(g) == 1 && g[0].p.reason != "" {
			continue // It is in the layer already.
		}
		if err := w.rewrite(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// linkGroups groups the members by their file in the source. Groups are in the
// order of their first names.
func linkGroups(members []*member) [][]*member {
	var groups [][]*member
	index := make(map[tree.Inode]int)
	for _, m := range members {
		inode := m.p.src.Inode
		i, ok := index[inode]
		if !ok || inode == (tree.Inode{}) {
			i = len(groups)
			groups = append(groups, nil)
			index[inode] = i
		}
		groups[i] = append(groups[i], m)
	}
	return groups
}

// sharedBase reports whether all members are as in the base, and are one file
// there. It returns that file.
func sharedBase(g []*member) (tree.Inode, bool) {
	var inode tree.Inode
	for i, m := range g {
		if m.p.reason != "" || m.p.base == nil {
			return tree.Inode{}, false
		}
		if i == 0 {
			inode = m.p.base.Inode
		}
		if m.p.base.Inode != inode || len(g) > 1 && inode == (tree.Inode{}) {
			return tree.Inode{}, false
		}
	}
	return inode, true
}

// rewrite puts all names of a group into the layer as one file.
func (w *walker) rewrite(ctx context.Context, g []*member) error {
	var shared *group
	if len(g) > 1 {
		shared = &group{}
	}
	for _, m := range g {
		at, err := w.changes.open(ctx, components(m.path), tree.Meta{Mode: impliedMode})
		if err != nil {
			return err
		}
		n := m.p.node(m.src, w.target.Cache)
		if n.reason == "" {
			n.reason = ReasonLink
		}
		n.group, m.rewritten = shared, true
		at.node.kids.set(n.srcName, n)
	}
	return nil
}
