package differ

import (
	"context"
	"fmt"
	"maps"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// Changes is the list of differences between an image and its base. It starts
// empty, and grows as targets are applied in order. It refers to the sources' and
// the base's trees: they must stay open until the layer is written.
//
// Methods that read the list may be called again, but not at the same time as
// [Changes.Apply] or [Changes.Exactly].
type Changes struct {
	root     place
	looked   Tally
	warnings []string
	applied  []applied
}

// NewChanges returns an empty change list against a base, whose root must be a
// directory. The caller closes the base, after the layer is written.
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

// Warnings returns texts for the user, such as which files were left out and why,
// in the order of the targets.
func (c *Changes) Warnings() []string { return c.warnings }

// Change is one path of the image that differs from the base.
type Change struct {
	// Path is relative to the root, and clean: no leading slash, no "." or "..".
	// The root's is empty.
	Path   string
	Kind   Kind
	Reason Reason
	// Entry is the entry that the image shows. It is zero for deletions.
	Entry tree.Entry
	// Base is the base's entry at the path of a directory. nil: the base has none
	// there.
	Base *tree.Entry
	// Parent marks a directory that is as in the base. It is in the list because
	// something below it differs.
	Parent bool
	// Link is the path of an earlier change that is a hard link to the same file.
	// It is empty for the first name of a file.
	Link string
	// Fresh: the directory replaces one of the base, and nothing of that may stay
	// visible.
	Fresh bool
	// DefaultACL: the parent directory has a default POSIX ACL. Files that are
	// created in it inherit that, unless they have ACLs of their own.
	DefaultACL bool

	src     tree.Dir
	srcName string
	cache   *filecache.Cache
	node    *node
}

// Open opens the content of a regular file. Changes with a Link have none.
func (c *Change) Open() (tree.File, error) { return c.src.Open(c.srcName) }

// Known is the digest of the content of a regular file if it was read, or is
// remembered by an earlier build; else it is none.
func (c *Change) Known() tree.Digest {
	if c.Entry.Digest.Known() {
		return c.Entry.Digest
	}
	return c.cache.Digest(&c.Entry)
}

// Settle is called before the file is read, if its digest is to be remembered for
// later builds: see [filecache.Cache.Settle]. If it returns false, [Change.Learn]
// must not be called.
func (c *Change) Settle(f tree.File) (ok bool) { return c.cache.Settle(f, &c.Entry) }

// Learn remembers the digest of the content. Before it, [Change.Settle] must have
// returned true, the content must have been read to its end, and the file's stamp
// must then still be the entry's.
func (c *Change) Learn(d tree.Digest) { c.cache.AddDigest(&c.Entry, d) }

// Recalled reports whether Entry.Digest was remembered by an earlier build, and the
// content has not been read in this one.
func (c *Change) Recalled() bool { return c.cache.Recalled(&c.Entry, c.Entry.Digest) }

// Bytes returns the number of content bytes that the layer stores for the change.
func (c *Change) Bytes() int64 {
	if c.Kind == Deleted || c.Link != "" {
		return 0
	}
	return c.Entry.Size
}

// Each calls fn for every change, in the order of entries in a layer: by path
// components, a directory before what is below it. The list includes the parents of
// changes (see [Change].Parent). fn must not keep the Change after it returns.
func (c *Changes) Each(fn func(*Change) error) error { return c.list(&lister{fn: fn}) }

// Drain is [Changes.Each], and frees the changes below a directory once fn has got
// them all. That keeps memory low while fn builds up its result. The list cannot be
// used afterwards.
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

// lister walks the nodes in the order of entries in a layer.
type lister struct {
	fn    func(*Change) error
	drain bool
	// first maps each group of hard links to the path of its first change, the one
	// with the content.
	first map[*group]string
}

// parent is a directory on the way to a change. It is passed to fn at most once.
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

// change returns the node as an entry of the change list.
func (n *node) change(path string) *Change {
	ch := &Change{Path: path, Reason: n.reason, src: n.src, srcName: n.srcName, cache: n.cache, node: n}
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

// Looked counts the source entries that were looked at until now, and the content
// bytes that were compared.
func (c *Changes) Looked() Tally { return c.looked }

// Summary adds up the changes.
func (c *Changes) Summary() Summary {
	s := Summary{Looked: c.looked}
	_ = c.Each(func(ch *Change) error { // Fails only if the function does.
		s.Add(ch)
		return nil
	})
	return s
}

// Add counts one change. It ignores parents.
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

// metaReason returns the first reason why the metadata of two entries differs,
// leaving out content, hard links and times. It is empty if there is no difference.
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
