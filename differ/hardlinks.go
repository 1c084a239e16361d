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
	v    visit
	p    *pair
}

func (w *walker) addMember(v visit, p *pair) {
	// A copy, since p would keep the list of its whole directory in cache.
	kept := &pair{src: retained(p.src), base: retained(p.base), reason: p.reason}
	m := member{path: v.path, v: visit{src: v.src, path: v.path}, p: kept}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members = append(w.members, m)
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
	slices.SortFunc(w.members, func(a, b member) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.p.src.Name, b.p.src.Name))
	})
	kept := make(map[tree.Inode]bool) // base files that are still used by a group
	for _, g := range w.linkGroups() {
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
func (w *walker) linkGroups() [][]member {
	var groups [][]member
	index := make(map[tree.Inode]int)
	for _, m := range w.members {
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
func sharedBase(g []member) (tree.Inode, bool) {
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
func (w *walker) rewrite(ctx context.Context, g []member) error {
	var shared *group
	if len(g) > 1 {
		shared = &group{}
	}
	for _, m := range g {
		at, err := w.changes.open(ctx, components(m.path), tree.Meta{Mode: impliedMode})
		if err != nil {
			return err
		}
		if m.p.reason == "" {
			m.p.reason = ReasonLink
		}
		n := m.p.node(m.v.src, w.target.Cache)
		n.group = shared
		at.node.kids.set(m.p.src.Name, n)
	}
	return nil
}
