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
	// impliedMode is that of directories which a destination needs and nobody described.
	impliedMode = unix.S_IFDIR | 0o755
	// maxLinks is how many symbolic links a destination may lead through, as in the kernel.
	maxLinks = 40
)

// state is what a node says of its path.
type state uint8

const (
	// inherit: the image shows the base's entry; only something below may differ.
	inherit state = iota
	// set: the image shows the node's own entry.
	set
	// gone: the image shows nothing where the base had something.
	gone
)

// node is a path whose directory has been looked at. What has no node is as in
// the base. Below a set or inherited directory the base's children show through,
// but for those that have nodes.
type node struct {
	state  state
	reason Reason
	// base is the base's entry at this path, nil if it has none.
	base *tree.Entry
	// entry, of a set node, is what the image shows; a regular file's content
	// is opened as srcName in src.
	entry   tree.Entry
	src     tree.Dir
	srcName string
	memory  *filecache.Cache
	group   *group
	kids    kids
	// fresh: a directory that shows nothing of the base's at its path.
	fresh bool
}

// group is a set of changed paths that are names of one file.
type group struct{ _ byte } // not empty: each has an address of its own

// current returns what the image shows at the node's path, nil if nothing.
func (n *node) current() *tree.Entry {
	switch n.state {
	case set:
		return &n.entry
	case gone:
		return nil
	}
	return n.base
}

// place is a directory of the image in the making: its node, and the base's
// directory at the same path if there is one.
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

// current returns what the image shows under a name in the place, given the
// base's entry of that name.
func (p place) current(name string, base *tree.Entry) *tree.Entry {
	if kid := p.node.kids.get(name); kid != nil {
		return kid.current()
	}
	return base
}

// kid returns the node of a name, making one that inherits if there is none.
func (p place) kid(name string, base *tree.Entry) *node {
	kid := p.node.kids.get(name)
	if kid == nil {
		kid = &node{base: retained(base)}
		p.node.kids.set(strings.Clone(name), kid)
	}
	return kid
}

// remove makes the name absent from the place.
func (p place) remove(name string, base *tree.Entry, why Reason) {
	if base == nil {
		p.node.kids.remove(name)
		return
	}
	kept := retained(base)
	p.node.kids.set(kept.Name, &node{state: gone, reason: why, base: kept})
}

// enter returns the child directory as a place; kid must show a directory.
func (p place) enter(name string, kid *node) (place, error) {
	if p.base == nil || kid.base == nil || !kid.base.IsDir() || kid.fresh {
		return place{node: kid}, nil
	}
	sub, err := p.base.Sub(name)
	return place{node: kid, base: sub}, err
}

// makeDir turns the name into a directory that shows entry. Children of a
// base directory that had been hidden, by a deletion or another file in its
// place, stay hidden: they become deletions of their own.
func (p place) makeDir(ctx context.Context, name string, base *tree.Entry, entry tree.Entry) (place, error) {
	kid := p.kid(name, base)
	cur := kid.current()
	hidden := base != nil && base.IsDir() && (cur == nil || !cur.IsDir())
	if cur == nil || !cur.IsDir() {
		kid.kids = kids{}
	}
	kid.src, kid.srcName, kid.memory, kid.group = nil, "", nil, nil
	switch why := reasonOf(&entry, base); {
	case why != "":
		kid.state, kid.entry, kid.reason = set, entry, why
	case kid.fresh:
		kid.state, kid.entry = set, entry // It goes on hiding the base's.
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

// reasonOf returns why an entry is a change against the base's, but for
// content; empty if it is none.
func reasonOf(entry, base *tree.Entry) Reason {
	if base == nil {
		return ReasonNew
	}
	return metaReason(entry, base)
}

// find returns the entry of that name in a sorted list, nil if there is none.
func find(entries []tree.Entry, name string) *tree.Entry {
	i, ok := slices.BinarySearchFunc(entries, name, func(e tree.Entry, n string) int { return strings.Compare(e.Name, n) })
	if !ok {
		return nil
	}
	return &entries[i]
}

// lookup returns what the place shows under a name, and the base's entry.
func (p place) lookup(ctx context.Context, name string) (cur, base *tree.Entry, err error) {
	entries, err := p.baseEntries(ctx)
	if err != nil {
		return nil, nil, err
	}
	base = find(entries, name)
	return p.current(name, base), base, nil
}

// step enters a child directory without changing anything; it makes a node
// that inherits where there is none.
func (p place) step(name string, base *tree.Entry) (place, error) {
	return p.enter(name, p.kid(name, base))
}

// resolve follows an absolute path in the image as it would be then, through
// symbolic links that are there, and returns the components of where it leads.
// What does not exist is taken as it stands. The last component is followed
// only if followLast. ".." of the root is the root, as in a container
// (path_resolution(7)).
func (c *Changes) resolve(ctx context.Context, p string, followLast bool) ([]string, error) {
	rest := components(p)
	real := []string{} // The root is no components, which is not nothing.
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

// show returns what the image shows at a path without links, nil if nothing.
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

// peek enters a directory of the base that has no node, and makes none.
func (p place) peek(name string, base *tree.Entry) (place, error) {
	return p.enter(name, &node{base: base})
}

// open returns the directory at a path without links as a place, making what
// is missing on the way like implied, a directory's metadata.
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

// components splits a cleaned absolute path of the user's; ".." at its start is nothing.
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

// linkComponents splits a symbolic link's target, whose ".." mean something.
func linkComponents(link string) []string {
	return slices.DeleteFunc(strings.Split(link, "/"), func(c string) bool { return c == "" || c == "." })
}
