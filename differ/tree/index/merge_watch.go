package index

import (
	"context"
	"fmt"

	"github.com/veneer-build/veneer/differ/tree"
)

// Watch applies layers as [Merge] does, and calls watch for each path that one of them
// changes: layer by layer from the lowest, a directory right before what is in it, and
// what is in a directory by name, what the layer has before what it only hides. There
// is no tree in the end. An error of watch ends it.
func Watch(ctx context.Context, layers []*Packed, watch func(Covered) error) error {
	a := newApplier(MergeOptions{})
	a.alive, a.watch = ctx.Err, watch
	a.packer = &packer{commons: map[[3]uint32]*Common{}}
	for i, p := range layers {
		if err := a.layer(i, p.source(ctx, a.packer)); err != nil {
			return fmt.Errorf("merge layer %d: %w", i, err)
		}
		if err := a.seal(a.uppers[i]); err != nil {
			return fmt.Errorf("merge layer %d: %w", i, err)
		}
	}
	if err := a.combine(); err != nil {
		return fmt.Errorf("merge layers: %w", err)
	}
	return nil
}

// seal frees what is only needed while a layer is applied, and sorts the names.
func (a *applier) seal(dir *node) error {
	if err := a.alive(); err != nil {
		return err
	}
	dir.dir.seal()
	for _, c := range dir.dir.list {
		if c.node.dir != nil {
			if err := a.seal(c.node); err != nil {
				return err
			}
		}
	}
	return nil
}

// source is where the records of a layer come from.
type source struct {
	// markers: there may be opaque markers.
	markers bool
	// each calls its argument for each record, in the order of the tar.
	each func(func(*Record) error) error
}

func (x *Index) source() source {
	s := source{each: func(fn func(*Record) error) error {
		for i := range x.Records {
			if err := fn(&x.Records[i]); err != nil {
				return err
			}
		}
		return nil
	}}
	for i := range x.Records {
		s.markers = s.markers || isMarker(x.Records[i].Path)
	}
	return s
}

// source tells k of the digest of each record.
func (p *Packed) source(ctx context.Context, k *packer) source {
	return source{p.markers, func(fn func(*Record) error) error {
		return p.read(ctx, &budget{}, func(r *Record, sum *tree.Digest) error {
			k.sum = sum
			return fn(r)
		})
	}}
}

// Covered is one path that a layer changes in the tree of the layers below it. The
// lowest layer changes an empty tree.
type Covered struct {
	// Layer is the position in the list of layers.
	Layer int
	// Depth is that of the directory: 0 is the root. It is the directory of the depth
	// before that was told of last.
	Depth int
	Name  string
	// Old is what the layers below show there, and New what they and this layer show.
	Old, New Shown
}

// Shown is a file at a path of a tree. The zero value means that there is none.
type Shown struct {
	// Entry is that of the content. nil: a directory that has no entry of its own.
	Entry *Entry
	// Layer has the entry.
	Layer int
	// Mode is st_mode. It may differ from the record's, since links change it.
	Mode uint32
	// Linked: an entry of the same layer is a hard link to the file.
	Linked bool
}

// Exists reports whether there is a file.
func (s *Shown) Exists() bool { return s.Mode != 0 }

// IsDir reports whether it is a directory.
func (s *Shown) IsDir() bool { return s.Exists() && tree.FileMode(s.Mode).IsDir() }

// tell tells the watcher what becomes of a name in a directory that is covered. Of a
// directory that is merged with one of lower layers, cover comes to what is in it
// itself.
func (a *applier) tell(at covering, name string, old, now *node) error {
	if a.watch == nil {
		return nil
	}
	if shownOf(old).isDir() && now.isDir() && !now.dir.opaque {
		return a.tellOf(at, name, old, now)
	}
	return a.tellAll(at, name, old, now)
}

// tellOf tells of one path.
func (a *applier) tellOf(at covering, name string, old, now *node) error {
	if err := a.alive(); err != nil || old == nil && now == nil {
		return err
	}
	return a.watch(Covered{Layer: at.layer, Depth: at.depth, Name: name, Old: old.shown(), New: now.shown()})
}

// tellAll tells of a path and of all paths below it, where one file takes the place of
// another. Either may be nil or no directory.
func (a *applier) tellAll(at covering, name string, old, now *node) error {
	old, now = shownOf(old), shownOf(now)
	if err := a.tellOf(at, name, old, now); err != nil {
		return err
	}
	at = at.below()
	if now.isDir() {
		for _, c := range now.dir.list {
			var below *node
			if old.isDir() {
				below = old.dir.find(c.name)
			}
			if err := a.tellAll(at, c.name, below, c.node); err != nil {
				return err
			}
		}
	}
	if old.isDir() {
		for _, c := range old.dir.list {
			if now.isDir() && now.dir.find(c.name) != nil {
				continue
			}
			if err := a.tellAll(at, c.name, c.node, nil); err != nil {
				return err
			}
		}
	}
	if now.isDir() && at.layer == len(a.uppers)-1 {
		now.dir.list = nil // Nobody needs it any more, and there may be a million.
	}
	return nil
}

func (n *node) isDir() bool { return n != nil && n.dir != nil }

// shownOf is nil for what overlayfs does not show.
func shownOf(n *node) *node {
	if n == nil || n.isWhiteout() {
		return nil
	}
	return n
}

func (n *node) shown() Shown {
	if n == nil {
		return Shown{}
	}
	return Shown{Entry: n.kept, Layer: int(n.layer), Mode: n.mode, Linked: n.group != 0}
}
