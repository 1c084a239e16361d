package index

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// ErrNoContent is wrapped by the error for opening a file whose content the tree
// cannot read. Its digest is known.
var ErrNoContent = errors.New("content is not available")

// MergeOptions are options of [Merge].
type MergeOptions struct {
	// Open opens the content of a regular file. layer is the position in the list
	// of layers. nil: opening fails with [ErrNoContent].
	Open func(layer int, rec *Record) (tree.File, error)
	// Expect is called for each record for which Open will be called, as far as
	// that is known in advance. nil: no calls. See [tree.Expecter].
	Expect func(layer int, rec *Record)
	// RootMeta: an entry for the root directory sets its metadata. Containerd
	// ignores such entries.
	RootMeta bool
	// Direct applies all layers into one directory, as containerd does for
	// snapshotters without overlayfs.
	Direct bool
}

// Merged is the file tree of a list of layers. It does not change, has no open
// descriptors, and refers to the records of its indexes. The Xattrs maps of its
// entries are shared and must not be written.
type Merged struct {
	root       *node
	open       func(int, *Record) (tree.File, error)
	expect     func(int, *Record)
	divergence *Divergence
}

// Merge applies layers from bottom to top as containerd does for overlayfs, and
// gives the result as a tree. Each layer is applied to a directory of its own
// (pkg/archive.Apply with OverlayConvertWhiteout and WithParents), and the
// directories are combined as the kernel combines them, since that is what
// containers are started on:
//
//   - a name below what is a symbolic link in lower layers only makes a directory
//     of that name, which hides the link; links of the same layer are followed,
//     inside the root;
//   - whiteouts hide what lower layers have, and must not name a file of the
//     same layer; an opaque marker, wherever in the layer it stands, hides what
//     lower layers have in its directory, but not in the root directory;
//   - an entry replaces what has its name, but a directory on a directory of the
//     same layer sets its metadata and adds its xattrs. One on a directory of
//     lower layers has its own metadata alone, and the children of both, even if
//     the layer deleted that one before: only a marker in it hides them;
//   - parents that are missing are made, like those of lower layers if these
//     have any, else 0755 and root's;
//   - a hard link entry's own mode, owner, time and xattrs are applied to the
//     file it shares, and like every chown drop its security.capability. A link
//     to a file that only lower layers have cannot be unpacked;
//   - a character device 0:0 is a whiteout;
//   - times before 1970 or after 2262 become 1970.
//
// The lowest layer, which has nothing below it, and with [MergeOptions].Direct
// all layers, are applied by the same function to one directory without
// overlayfs: links of lower layers are followed, whiteouts remove files of the
// same layer too, a marker removes also what lies in directories that the layer
// only implies, and directories keep the xattrs that they had. For nearly all
// images the two make the same tree; where not, [Merged.Divergence] says so.
//
// An entry that containerd fails on (a file as parent, a hard link to nothing,
// a directory entry whose path is gone in the end) is an error that names it.
//
// Where containerd leaves the time of unpacking, on the root, on implied
// directories and on those that only lost or gained children, the tree has
// [tree.UnknownTime]. Owner and mode of the root are those of a fresh snapshot.
// POSIX ACLs are as the entries have them: that Linux makes new files inherit a
// directory's default ACL, and that chmod edits an ACL's mask, is not modelled.
//
// The layers may be a stranger's, so Merge ends when ctx does.
func Merge(ctx context.Context, layers []*Index, o MergeOptions) (*Merged, error) {
	a := newApplier(o)
	a.alive = ctx.Err
	for i, x := range layers {
		if err := a.layer(i, x.source()); err != nil {
			return nil, fmt.Errorf("merge layer %d: %w", i, err)
		}
	}
	err := a.finish()
	m := &Merged{root: a.root, open: o.Open, expect: o.Expect}
	if err == nil && a.doubt {
		m.divergence, err = diverges(ctx.Err, m.root, layers, o)
	}
	if err != nil {
		return nil, fmt.Errorf("merge layers: %w", err)
	}
	return m, nil
}

// MergeArchive returns the tree of a user's archive from its index. It is applied
// to an empty directory as with [MergeOptions].Direct, and the root's metadata is
// the archive's. open opens the contents.
func MergeArchive(ctx context.Context, x *Index, open func(*Record) (tree.File, error)) (*Merged, error) {
	a := newApplier(MergeOptions{RootMeta: true, Direct: true})
	a.alive = ctx.Err
	if err := a.layer(0, x.source()); err != nil {
		return nil, err
	}
	if err := a.finish(); err != nil {
		return nil, err
	}
	return &Merged{root: a.root, open: func(_ int, r *Record) (tree.File, error) { return open(r) }}, nil
}

// Root implements [tree.Tree].
func (m *Merged) Root(context.Context) (tree.Entry, tree.Dir, error) {
	return m.root.entry(""), &mergedDir{tree: m, node: m.root}, nil
}

// Open implements [tree.Tree]. It always fails, since the root is a directory.
func (m *Merged) Open() (tree.File, error) {
	return nil, fmt.Errorf("open root of layers: %w", unix.EISDIR)
}

// Close implements [tree.Tree]. It has nothing to release.
func (m *Merged) Close() error { return nil }

// Count implements [tree.Counter].
func (m *Merged) Count() (files, bytes int64) {
	for dirs := []*children{m.root.dir}; len(dirs) > 0; {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		files += int64(len(dir.list))
		for _, c := range dir.list {
			switch n := c.node; {
			case n.dir != nil:
				dirs = append(dirs, n.dir)
			case n.mode&unix.S_IFMT == unix.S_IFREG:
				bytes += n.rec.Size
			}
		}
	}
	return files, bytes
}

// mergedDir is a [tree.Dir] of a [Merged]. path has no leading slash.
type mergedDir struct {
	tree *Merged
	node *node
	path string
}

// Entries implements [tree.Dir].
func (d *mergedDir) Entries(ctx context.Context) ([]tree.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	list := make([]tree.Entry, len(d.node.dir.list))
	for i, c := range d.node.dir.list {
		list[i] = c.node.entry(c.name)
	}
	return list, nil
}

// Sub implements [tree.Dir].
func (d *mergedDir) Sub(name string) (tree.Dir, error) {
	c, err := d.child(name)
	if err != nil {
		return nil, err
	}
	if c.dir == nil {
		return nil, d.fail(name, unix.ENOTDIR)
	}
	return &mergedDir{tree: d.tree, node: c, path: tree.JoinPath(d.path, name)}, nil
}

// Open implements [tree.Dir].
func (d *mergedDir) Open(name string) (tree.File, error) {
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

// Expect implements [tree.Expecter].
func (d *mergedDir) Expect(name string) {
	if c := d.node.dir.find(name); c != nil && c.mode&unix.S_IFMT == unix.S_IFREG && d.tree.expect != nil {
		d.tree.expect(int(c.layer), c.rec)
	}
}

// Close implements [tree.Dir]. It has nothing to release.
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
	return fmt.Errorf("open %s: %w", tree.JoinPath(d.path, name), err)
}
