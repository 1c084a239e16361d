package index

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// combine merges the layers' directories as overlayfs does: the kernel's
// documentation (filesystems/overlayfs.rst, "Whiteouts and opaque directories").
func (a *applier) combine() {
	if a.direct {
		return
	}
	a.root = a.rootNode
	for _, u := range a.uppers {
		a.root.dir.cover(u.dir)
	}
	a.uppers = nil
}

// cover puts the names of an upper directory over those that are here.
func (c *children) cover(up *children) {
	for _, e := range up.list {
		old := c.find(e.name)
		switch {
		case old == nil:
			c.add(e.name, e.node)
		case old.dir != nil && e.node.dir != nil && !e.node.dir.opaque:
			kids := old.dir
			*old = *e.node
			old.dir = kids
			kids.touched = e.node.dir.touched
			kids.cover(e.node.dir)
		default:
			c.remove(e.name)
			c.add(e.name, e.node)
		}
	}
}

// dropWhiteouts removes what overlayfs does not show.
func (c *children) dropWhiteouts() {
	c.list = slices.DeleteFunc(c.list, func(e child) bool { return e.node.isWhiteout() })
	c.index = nil // Its positions are those of before; nothing asks any more.
}

// Divergence says that containerd's snapshotters show different files of the
// same layers.
type Divergence struct {
	// Path is one that differs, without a leading slash.
	Path string
	// Err is why snapshotters without overlayfs cannot unpack the layers; nil:
	// they can.
	Err error
}

// String says what differs.
func (d *Divergence) String() string {
	if d.Err != nil {
		return fmt.Sprintf("layers that only overlayfs can unpack: %v", d.Err)
	}
	return fmt.Sprintf("/%s is not the same on overlayfs and on other snapshotters", d.Path)
}

// Divergence is not nil where the layers, applied one after the other into one
// directory as on native, do not make this tree: see [Merge].
func (m *Merged) Divergence() *Divergence { return m.divergence }

// diverges applies the layers in the other way and compares.
func diverges(alive func() error, root *node, layers []*Index, o MergeOptions) *Divergence {
	o.Direct = true
	a := newApplier(o)
	a.alive = alive
	for i, x := range layers {
		if err := a.layer(i, x); err != nil {
			return &Divergence{Err: fmt.Errorf("layer %d: %w", i, err)}
		}
	}
	a.finish()
	if p, differ := differs("", root, a.root); differ {
		return &Divergence{Path: p}
	}
	return nil
}

// differs finds a path at which two trees of the same layers differ.
func differs(p string, a, b *node) (string, bool) {
	if p != "" && !a.same(b) {
		return p, true
	}
	if a.dir == nil {
		return "", false
	}
	x, y := a.dir.list, b.dir.list
	for i := range max(len(x), len(y)) {
		switch {
		case i == len(x) || i < len(y) && y[i].name < x[i].name:
			return tree.JoinPath(p, y[i].name), true
		case i == len(y) || x[i].name < y[i].name:
			return tree.JoinPath(p, x[i].name), true
		}
		if q, d := differs(tree.JoinPath(p, x[i].name), x[i].node, y[i].node); d {
			return q, true
		}
	}
	return "", false
}

// same compares two files. Times of directories that depend on the unpacking
// are not compared, and content has to be that of one record.
func (n *node) same(o *node) bool {
	if n.mode != o.mode || n.uid != o.uid || n.gid != o.gid || n.group != o.group || !maps.Equal(n.xattrs, o.xattrs) {
		return false
	}
	if n.dir == nil {
		return n.mtime == o.mtime && n.nsec == o.nsec && (n.rec == o.rec || n.mode&unix.S_IFMT == unix.S_IFIFO)
	}
	return n.dir.touched || o.dir.touched || n.mtime == o.mtime && n.nsec == o.nsec
}
