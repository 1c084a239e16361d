package differ

import (
	"context"
	"fmt"
	"maps"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// Changes is what an image shows differently from its base: the outcome of
// targets applied in order. It keeps the trees it came from in use, which are
// read again when the layer is written.
type Changes struct {
	root     place
	looked   Tally
	warnings []string
}

// NewChanges returns an empty change list against a base, whose root must be a
// directory. The base stays the caller's to close.
func NewChanges(ctx context.Context, base tree.Tree) (*Changes, error) {
	entry, dir, err := base.Root(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the base's root directory: %w", err)
	}
	if dir == nil {
		return nil, fmt.Errorf("read the base's root directory: it is a file")
	}
	return &Changes{root: place{node: &node{base: &entry}, base: dir}}, nil
}

// Warnings returns what was left out, and why, in the order of the targets.
func (c *Changes) Warnings() []string { return c.warnings }

// Change is one path of the image that differs from the base.
type Change struct {
	// Path has no leading slash, and no "." or ".." in it; the root's is empty.
	Path   string
	Kind   Kind
	Reason Reason
	// Entry is what the image shows; zero for deletions.
	Entry tree.Entry
	// Base is the base's entry at the path of a directory, nil if it has none there.
	Base *tree.Entry
	// Parent marks a directory that is as in the base, and stands in the list
	// since something below it differs.
	Parent bool
	// Link is the path of an earlier change that is another name of the same
	// file; empty for others.
	Link string
	// Fresh: the directory takes the place of one of the base's, of which nothing
	// may show through.
	Fresh bool
	// DefaultACL: the directory of the path has a default POSIX ACL, which files
	// made in it inherit unless they say otherwise.
	DefaultACL bool

	src     tree.Dir
	srcName string
	memory  *filecache.Cache
	node    *node
}

// Open opens the content of a regular file that is no link to an earlier one.
func (c *Change) Open() (tree.File, error) { return c.src.Open(c.srcName) }

// Settle prepares the open file for what [Change.Learn] is to tell; not ok: it
// may not be remembered.
func (c *Change) Settle(f tree.File) (ok bool) { return c.memory.Settle(f, &c.Entry) }

// Learn tells what the content turned out to be, which was settled and then read
// while the file's stamp was the entry's.
func (c *Change) Learn(d tree.Digest) { c.memory.AddDigest(&c.Entry, d) }

// Recalled reports whether the content's digest is what an earlier build found,
// which nobody has read in this one.
func (c *Change) Recalled() bool { return c.memory.Recalled(&c.Entry, c.Entry.Digest) }

// Bytes is the length of content that the layer stores for the change.
func (c *Change) Bytes() int64 {
	if c.Kind == Deleted || c.Link != "" {
		return 0
	}
	return c.Entry.Size
}

// Each calls fn for every change, in the order in which a layer holds them:
// by path components, a directory before what is below it, parents included.
// The Change is fn's only until it returns. Each may be called again, but not
// beside [Changes.Apply].
func (c *Changes) Each(fn func(*Change) error) error { return c.list(&lister{fn: fn}) }

// Drain is [Changes.Each] for the last time: the changes below a directory are
// let go of when all of them were told, so that what fn builds up takes their
// place.
func (c *Changes) Drain(fn func(*Change) error) error { return c.list(&lister{fn: fn, drain: true}) }

func (c *Changes) list(l *lister) error {
	if c.root.node.state == set {
		if err := l.fn(c.root.node.change("")); err != nil {
			return err
		}
	}
	l.first = make(map[*group]string)
	return l.below(c.root.node, nil, "")
}

// lister walks the nodes in the order of a layer.
type lister struct {
	fn    func(*Change) error
	drain bool
	// first is the path of a group's first change: the one that has the content.
	first map[*group]string
}

// parent is a directory on the way to a change, told of at most once.
type parent struct {
	change *Change
	up     *parent
	told   bool
}

func (l *lister) tell(p *parent) error {
	if p == nil || p.told {
		return nil
	}
	if err := l.tell(p.up); err != nil {
		return err
	}
	p.told = true
	return l.fn(p.change)
}

func (l *lister) below(n *node, up *parent, path string) error {
	cur := n.current()
	defaultACL := cur != nil && cur.Xattrs["system.posix_acl_default"] != ""
	for name, kid := range n.kids.all() {
		ch := kid.change(joinPath(path, name))
		ch.DefaultACL = defaultACL
		if kid.group != nil {
			if ch.Link = l.first[kid.group]; ch.Link == "" {
				l.first[kid.group] = ch.Path
			}
		}
		self := &parent{change: ch, up: up}
		if !ch.Parent {
			if err := l.tell(self); err != nil {
				return err
			}
		}
		if err := l.below(kid, self, ch.Path); err != nil {
			return err
		}
	}
	if l.drain {
		n.kids = kids{}
	}
	return nil
}

// change describes the node's path as one entry of the change list.
func (n *node) change(path string) *Change {
	ch := &Change{Path: path, Reason: n.reason, src: n.src, srcName: n.srcName, memory: n.memory, node: n}
	switch {
	case n.state == gone:
		ch.Kind = Deleted
		return ch
	case n.state == inherit:
		ch.Kind, ch.Parent, ch.Entry, ch.Base, ch.Reason = Modified, true, *n.base, n.base, ""
		return ch
	case n.base == nil:
		ch.Kind = Added
	default:
		ch.Kind = Modified
	}
	ch.Entry, ch.Fresh = n.entry, n.fresh
	if n.base != nil && n.base.IsDir() && n.entry.IsDir() {
		ch.Base = n.base
	}
	return ch
}

// Summary adds up the changes.
func (c *Changes) Summary() Summary {
	s := Summary{Looked: c.looked}
	_ = c.Each(func(ch *Change) error { // Fails only if the function does.
		s.Add(ch)
		return nil
	})
	return s
}

// Add counts one change; parents are none.
func (s *Summary) Add(ch *Change) {
	if ch.Parent {
		return
	}
	tally := [...]*Tally{Added: &s.Added, Modified: &s.Modified, Deleted: &s.Deleted}[ch.Kind]
	tally.add(ch.Bytes())
	if ch.Kind == Modified && ch.Reason.Metadata() {
		s.MetadataOnly.add(ch.Bytes())
	}
}

func (t *Tally) add(bytes int64) {
	t.Count++
	t.Bytes += bytes
}

// Empty reports whether nothing differs.
func (c *Changes) Empty() bool { return c.root.node.state == inherit && empty(c.root.node) }

func empty(n *node) bool {
	for _, kid := range n.kids.all() {
		if kid.state != inherit || !empty(kid) {
			return false
		}
	}
	return true
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// metaReason returns the most telling difference between two entries apart
// from content, link groups and times; empty if there is none.
func metaReason(a, b *tree.Entry) Reason {
	switch {
	case a.Type() != b.Type():
		return ReasonType
	case a.Link != b.Link:
		return ReasonTarget
	case a.Rdev != b.Rdev:
		return ReasonDevice
	case a.Mode != b.Mode && a.Type() != unix.S_IFLNK:
		return ReasonMode
	case a.UID != b.UID || a.GID != b.GID:
		return ReasonOwner
	case !maps.Equal(a.Xattrs, b.Xattrs):
		return ReasonXattr
	}
	return ""
}
