package tree

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNoContent is in the chain of the error for opening a file whose tree
// knows the content's digest but was not told how to read it.
var ErrNoContent = errors.New("content is not available")

// MergeOptions are what a merged tree is used for.
type MergeOptions struct {
	// Open opens the content of a regular file, given the layer's position in
	// the list and its record. Nil: every Open fails with [ErrNoContent].
	Open func(layer int, rec *Record) (File, error)
	// Expect is told which records Open will be called for, as far as anybody
	// knows beforehand; nil: nobody is told. See [Expecter].
	Expect func(layer int, rec *Record)
	// RootMeta lets an entry for the root directory itself set its metadata.
	// Containerd ignores such entries.
	RootMeta bool
	// Overlay applies directory entries as containerd does into the upper
	// directory of an overlay mount: one that lower layers have is made
	// afresh, so that attributes that the entry does not mention are lost.
	Overlay bool
}

// Merged is the file tree that a list of layers makes. It is immutable, holds
// no descriptors, and keeps the records of its indexes alive; the Xattrs maps
// of its entries are shared and must not be written.
type Merged struct {
	root   *node
	open   func(int, *Record) (File, error)
	expect func(int, *Record)
}

// Merge applies layers from bottom to top as containerd does when it unpacks
// them one after the other into one directory (pkg/archive.Apply without an
// overlay), and gives the result as a tree:
//
//   - whiteouts remove what is there, of the same layer too; an opaque marker,
//     wherever in the layer it stands, removes from its directory what this
//     layer has no entry for, so also directories that the layer only implies;
//   - an entry replaces what has its name, but a directory on a directory sets
//     its metadata and adds its xattrs: attributes that it does not mention
//     stay. Containerd's applier for overlays makes such a directory afresh,
//     so that they are lost there: see MergeOptions.Overlay;
//   - parents that are missing are made, 0755 and root's;
//   - symbolic links in the parent's path are followed inside the root;
//   - a hard link entry's own mode, owner, time and xattrs are applied to the
//     file it shares, and like every chown drop its security.capability;
//   - times before 1970 or after 2262 become 1970.
//
// An entry that containerd fails on (a file as parent, a hard link to nothing,
// a directory entry whose path is gone in the end) is an error that names it.
//
// Where containerd leaves the time of unpacking, on the root, on implied
// directories and on those that only lost or gained children, the tree has
// zero or the time that an entry gave. Owner and mode of the root are those of
// a fresh snapshot. POSIX ACLs are as the entries have them: that Linux makes
// new files inherit a directory's default ACL, and that chmod edits an ACL's
// mask, is not modelled.
func Merge(layers []*Index, o MergeOptions) (*Merged, error) {
	return MergeContext(context.Background(), layers, o)
}

// MergeContext is [Merge] for layers of strangers: it ends when ctx does.
func MergeContext(ctx context.Context, layers []*Index, o MergeOptions) (*Merged, error) {
	a := newApplier(o)
	a.alive = ctx.Err
	for i, x := range layers {
		if err := a.layer(i, x); err != nil {
			return nil, fmt.Errorf("merge layer %d: %w", i, err)
		}
	}
	a.finish()
	return &Merged{root: a.root, open: o.Open, expect: o.Expect}, nil
}

// Root implements [Tree].
func (m *Merged) Root(context.Context) (Entry, Dir, error) {
	return m.root.entry(""), &mergedDir{tree: m, node: m.root}, nil
}

// Open implements [Tree]; the root is always a directory.
func (m *Merged) Open() (File, error) {
	return nil, fmt.Errorf("open root of layers: %w", unix.EISDIR)
}

// Close implements [Tree]; there is nothing to release.
func (m *Merged) Close() error { return nil }

// mergedDir is a [Dir] of a [Merged]. path has no leading slash.
type mergedDir struct {
	tree *Merged
	node *node
	path string
}

// Entries implements [Dir].
func (d *mergedDir) Entries(ctx context.Context) ([]Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	list := make([]Entry, len(d.node.dir.list))
	for i, c := range d.node.dir.list {
		list[i] = c.node.entry(c.name)
	}
	return list, nil
}

// Sub implements [Dir].
func (d *mergedDir) Sub(name string) (Dir, error) {
	c, err := d.child(name)
	if err != nil {
		return nil, err
	}
	if c.dir == nil {
		return nil, d.fail(name, unix.ENOTDIR)
	}
	return &mergedDir{tree: d.tree, node: c, path: joinPath(d.path, name)}, nil
}

// Open implements [Dir].
func (d *mergedDir) Open(name string) (File, error) {
	c, err := d.child(name)
	if err != nil {
		return nil, err
	}
	switch c.mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFLNK:
		return nil, d.fail(name, unix.ELOOP)
	case unix.S_IFDIR:
		return nil, d.fail(name, unix.EISDIR)
	default:
		return nil, d.fail(name, unix.EINVAL)
	}
	if d.tree.open == nil {
		return nil, d.fail(name, ErrNoContent)
	}
	f, err := d.tree.open(int(c.layer), c.rec)
	if err != nil {
		return nil, d.fail(name, err)
	}
	return f, nil
}

// Expect implements [Expecter].
func (d *mergedDir) Expect(name string) {
	if c := d.node.dir.find(name); c != nil && c.mode&unix.S_IFMT == unix.S_IFREG && d.tree.expect != nil {
		d.tree.expect(int(c.layer), c.rec)
	}
}

// Close implements [Dir]; there is nothing to release.
func (d *mergedDir) Close() error { return nil }

func (d *mergedDir) child(name string) (*node, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, d.fail(name, syscall.EINVAL)
	}
	if c := d.node.dir.find(name); c != nil {
		return c, nil
	}
	return nil, d.fail(name, syscall.ENOENT)
}

func (d *mergedDir) fail(name string, err error) error {
	return fmt.Errorf("open %s: %w", joinPath(d.path, name), err)
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
