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
func (a *applier) combine() error {
	if a.direct {
		return nil
	}
	a.root = a.rootNode
	for i, u := range a.uppers {
		if err := a.cover(covering{layer: i}, a.root.dir, u.dir); err != nil {
			return err
		}
	}
	a.uppers = nil
	return nil
}

// covering is a layer that covers those below it, and the depth of the directory where
// it does.
type covering struct{ layer, depth int }

// cover adds the names of an upper directory to those of a lower one, replacing
// equal names.
func (a *applier) cover(at covering, c, up *children) error {
	if err := a.alive(); err != nil {
		return err
	}
	// Nobody needs what was told of the last layer.
	last := a.packer != nil && at.layer == len(a.uppers)-1
	for i, e := range up.list {
		old := c.find(e.name)
		if err := a.tell(at, e.name, old, e.node); err != nil {
			return err
		}
		if last {
			up.list[i] = child{}
		}
		switch {
		case last && !e.node.joins(old):
		case old == nil:
			c.add(e.name, e.node)
		case e.node.joins(old):
			if err := a.cover(at.below(), old.become(e.node), e.node.dir); err != nil {
				return err
			}
		default:
			c.remove(e.name)
			c.add(e.name, e.node)
		}
	}
	return nil
}

// joins reports whether a name of an upper layer is a directory that shows those of
// the lower one, too.
func (n *node) joins(lower *node) bool {
	return lower.isDir() && n.isDir() && !n.dir.opaque
}

// become makes a directory one of an upper layer, with the names it has, which it
// returns.
func (n *node) become(upper *node) *children {
	kids := n.dir
	*n = *upper
	n.dir = kids
	kids.touched = upper.dir.touched
	return kids
}

func (at covering) below() covering { return covering{at.layer, at.depth + 1} }

// dropWhiteouts removes the whiteouts, which overlayfs does not show.
func (c *children) dropWhiteouts() {
	c.list = slices.DeleteFunc(c.list, func(e child) bool { return e.node.isWhiteout() })
	c.index = nil // Its positions are wrong now, and it is not needed any more.
}

// Divergence is a difference between what containerd's snapshotters show of the
// same layers.
type Divergence struct {
	// Path is a path that differs, without a leading slash.
	Path string
	// Err is the reason why snapshotters without overlayfs cannot unpack the
	// layers. nil: they can.
	Err error
}

// String describes the difference.
func (d *Divergence) String() string {
	if d.Err != nil {
		return fmt.Sprintf("layers that only overlayfs can unpack: %v", d.Err)
	}
	return fmt.Sprintf("/%s is not the same on overlayfs and on other snapshotters", d.Path)
}

// Divergence returns nil if the layers make the same tree when they are applied one
// after the other to one directory, as the native snapshotter does: see [Merge].
func (m *Merged) Divergence() *Divergence { return m.divergence }

// diverges applies the layers in the other way and compares the trees.
func diverges(alive func() error, root *node, layers []*Index, o MergeOptions) (*Divergence, error) {
	o.Direct = true
	a := newApplier(o)
	a.alive = alive
	for i, x := range layers {
		if err := a.layer(i, x.source()); err != nil {
			return &Divergence{Err: fmt.Errorf("layer %d: %w", i, err)}, alive()
		}
	}
	if err := a.finish(); err != nil {
		return nil, err
	}
	if p, differ := a.differs("", root, a.root); differ {
		return &Divergence{Path: p}, alive()
	}
	return nil, alive()
}

// differs finds a path at which two trees of the same layers differ. When the
// context has ended, it finds none.
func (a *applier) differs(p string, m, n *node) (string, bool) {
	if p != "" && !m.same(n) {
		return p, true
	}
	if m.dir == nil || a.alive() != nil {
		return "", false
	}
	x, y := m.dir.list, n.dir.list
	for i := range max(len(x), len(y)) {
		switch {
		case i == len(x) || i < len(y) && y[i].name < x[i].name:
			return tree.JoinPath(p, y[i].name), true
		case i == len(y) || x[i].name < y[i].name:
			return tree.JoinPath(p, x[i].name), true
		}
		if q, d := a.differs(tree.JoinPath(p, x[i].name), x[i].node, y[i].node); d {
			return q, true
		}
	}
	return "", false
}

// same reports whether two files are equal. Times of directories that depend on the
// unpacking are not compared. Content is equal only if it is of the same record.
func (n *node) same(o *node) bool {
	if n.mode != o.mode || n.uid != o.uid || n.gid != o.gid || n.group != o.group || !maps.Equal(n.xattrs, o.xattrs) {
		return false
	}
	if n.dir == nil {
		return n.mtime == o.mtime && n.nsec == o.nsec && (n.rec == o.rec || n.mode&unix.S_IFMT == unix.S_IFIFO)
	}
	return n.dir.touched || o.dir.touched || n.mtime == o.mtime && n.nsec == o.nsec
}
