package differ

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

const (
	symlinkMode = unix.S_IFLNK | 0o777
	// impliedMode is the mode of missing parent directories of a destination.
	impliedMode = unix.S_IFDIR | 0o755
	// maxLinks is the number of symbolic links that may be followed for one
	// destination, as in the kernel.
	maxLinks = 40
)

// state says what the image shows at a node's path.
type state uint8

const (
	// inherit: the image shows the base's entry. Something below it may differ.
	inherit state = iota
	// set: the image shows the node's own entry.
	set
	// gone: the image shows nothing where the base had something.
	gone
)

// node is a path of the image that was looked at. Paths without a node are as in
// the base. Below a node that is set or inherited the base's files are shown,
// unless they have nodes of their own.
type node struct {
	state  state
	reason Reason
	// base is the base's entry at this path, nil if it has none.
	base *tree.Entry
	// entry is what the image shows, if the node is set. A regular file's content
	// is opened under the name srcName in src.
	entry   tree.Entry
	src     tree.Dir
	srcName string
	cache   *filecache.Cache
	group   *group
	kids    kids
	// fresh: the directory hides all files of the base at its path.
	fresh bool
}

// group is a set of changed paths that are hard links of one file.
type group struct{ _ byte } // not empty, so that each group has its own address

// current returns the entry that the image shows at the node's path, or nil if
// there is none.
func (n *node) current() *tree.Entry {
	switch n.state {
	case set:
		return &n.entry
	case gone:
		return nil
	}
	return n.base
}

// place is a directory of the image: its node, and the base's directory at the same
// path (nil if there is none).
type place struct {
	node *node
	base tree.Dir
}

// baseEntries lists the base's directory at the place; empty where it has none.
func (p place) baseEntries(ctx context.Context) ([]tree.Entry, error) {
	if p.base == nil {
		return nil, nil
	}
	return p.base.Entries(ctx)
}

// current returns the entry that the image shows under a name in the place, or nil.
// base is the base's entry of that name, or nil.
func (p place) current(name string, base *tree.Entry) *tree.Entry {
	if kid := p.node.kids.get(name); kid != nil {
		return kid.current()
	}
	return base
}

// kid returns the node of a name. If there is none, it makes one that inherits.
func (p place) kid(name string, base *tree.Entry) *node {
	kid := p.node.kids.get(name)
	if kid == nil {
		kid = &node{base: retained(base)}
		p.node.kids.set(strings.Clone(name), kid)
	}
	return kid
}

// remove removes the name from the place.
func (p place) remove(name string, base *tree.Entry, why Reason) {
	if base == nil {
		p.node.kids.remove(name)
		return
	}
	kept := retained(base)
	p.node.kids.set(kept.Name, &node{state: gone, reason: why, base: kept})
}

// enter returns a child directory as a place. kid must show a directory.
func (p place) enter(name string, kid *node) (place, error) {
	if p.base == nil || kid.base == nil || !kid.base.IsDir() || kid.fresh {
		return place{node: kid}, nil
	}
	sub, err := p.base.Sub(name)
	return place{node: kid, base: sub}, err
}

// makeDir makes the name show a directory with the given entry. If the base has a
// directory there that is hidden, because it was deleted or replaced by another
// file, the base's files in it stay hidden: each becomes a deletion.
func (p place) makeDir(ctx context.Context, name string, base *tree.Entry, entry tree.Entry) (place, error) {
	kid := p.kid(name, base)
	cur := kid.current()
	hidden := base != nil && base.IsDir() && (cur == nil || !cur.IsDir())
	if cur == nil || !cur.IsDir() {
		kid.kids = kids{}
	}
	kid.src, kid.srcName, kid.cache, kid.group = nil, "", nil, nil
	switch why := reasonOf(&entry, base); {
	case why != "":
		kid.state, kid.entry, kid.reason = set, entry, why
	case kid.fresh:
		kid.state, kid.entry = set, entry // It still hides the base's files.
	default:
		kid.state, kid.entry = inherit, tree.Entry{}
	}
	at, err := p.enter(name, kid)
	if err != nil || !hidden {
		return at, err
	}
	below, err := at.baseEntries(ctx)
	for i := range below {
		at.remove(below[i].Name, &below[i], ReasonRemoved)
	}
	return at, err
}

// reasonOf returns the reason why an entry is a change against the base's. It does
// not look at the content. Empty: no change.
func reasonOf(entry, base *tree.Entry) Reason {
	if base == nil {
		return ReasonNew
	}
	return metaReason(entry, base)
}

// find returns the entry of that name in a list sorted by name, or nil.
func find(entries []tree.Entry, name string) *tree.Entry {
	i, ok := slices.BinarySearchFunc(entries, name, func(e tree.Entry, n string) int { return strings.Compare(e.Name, n) })
	if !ok {
		return nil
	}
	return &entries[i]
}

// lookup returns the entries that the place and the base have under a name, nil if
// none.
func (p place) lookup(ctx context.Context, name string) (cur, base *tree.Entry, err error) {
	entries, err := p.baseEntries(ctx)
	if err != nil {
		return nil, nil, err
	}
	base = find(entries, name)
	return p.current(name, base), base, nil
}

// step enters a child directory without changing it. If it has no node, it gets one
// that inherits.
func (p place) step(name string, base *tree.Entry) (place, error) {
	return p.enter(name, p.kid(name, base))
}

// resolve follows an absolute path in the image as it is now, through the image's
// symbolic links. It returns the components of the path that it leads to.
// Components that do not exist are kept. The last component is followed only if
// followLast is set. ".." of the root is the root, as in a container
// (path_resolution(7)).
func (c *Changes) resolve(ctx context.Context, p string, followLast bool) ([]string, error) {
	rest := components(p)
	real := []string{} // The root is an empty list, not nil.
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			real = real[:max(0, len(real)-1)]
			continue
		}
		cur, err := c.show(ctx, append(slices.Clone(real), name))
		if err != nil {
			return nil, err
		}
		switch {
		case cur != nil && cur.IsSymlink() && (followLast || len(rest) > 0):
			if links++; links > maxLinks {
				return nil, fmt.Errorf("%s: too many levels of symbolic links in the image", p)
			}
			if strings.HasPrefix(cur.Link, "/") {
				real = real[:0]
			}
			rest = append(linkComponents(cur.Link), rest...)
		case cur != nil && !cur.IsDir() && len(rest) > 0:
			return nil, fmt.Errorf("%s: /%s is not a directory in the image", p, strings.Join(append(real, name), "/"))
		default:
			real = append(real, name)
		}
	}
	return real, nil
}

// show returns the image's entry at a path without symbolic links, or nil if there
// is none.
func (c *Changes) show(ctx context.Context, path []string) (*tree.Entry, error) {
	at := c.root
	for i, name := range path {
		cur, base, err := at.lookup(ctx, name)
		if err != nil || cur == nil || i == len(path)-1 {
			return cur, err
		}
		if !cur.IsDir() {
			return nil, nil
		}
		if kid := at.node.kids.get(name); kid != nil {
			at, err = at.enter(name, kid)
		} else {
			at, err = at.peek(name, base)
		}
		if err != nil {
			return nil, err
		}
	}
	return c.root.node.current(), nil
}

// peek enters a directory of the base that has no node, and does not make one.
func (p place) peek(name string, base *tree.Entry) (place, error) {
	return p.enter(name, &node{base: base})
}

// open returns the directory at a path without symbolic links as a place. Missing
// directories are made, with the metadata of implied.
func (c *Changes) open(ctx context.Context, path []string, implied tree.Meta) (place, error) {
	at := c.root
	for _, name := range path {
		cur, base, err := at.lookup(ctx, name)
		if err != nil {
			return place{}, err
		}
		if cur != nil && cur.IsDir() {
			at, err = at.step(name, base)
		} else {
			at, err = at.makeDir(ctx, name, base, tree.Entry{Name: name, Meta: implied})
		}
		if err != nil {
			return place{}, err
		}
	}
	return at, nil
}

// components splits an absolute path of the user's into components, and cleans it.
// ".." of the root is the root.
func components(p string) []string {
	var parts []string
	for _, c := range strings.Split(p, "/") {
		switch c {
		case "", ".":
		case "..":
			parts = parts[:max(0, len(parts)-1)]
		default:
			parts = append(parts, c)
		}
	}
	return parts
}

// linkComponents splits a symbolic link's target into components. It keeps "..",
// since that depends on the links before it.
func linkComponents(link string) []string {
	return slices.DeleteFunc(strings.Split(link, "/"), func(c string) bool { return c == "" || c == "." })
}
