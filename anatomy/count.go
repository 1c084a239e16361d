package anatomy

import (
	"context"
	"fmt"

	"github.com/veneer-build/veneer/differ/tree/index"
)

// count fills in the numbers of the layers and of the image.
func (img *Image) count(ctx context.Context, indexes []*index.Packed) error {
	c := counter{img: img, stored: map[once]bool{}, gone: map[once]end{}, visible: make([]Tally, len(img.Layers))}
	img.Walk(func(f *File, _ int) bool {
		c.file(f)
		return ctx.Err() == nil
	})
	c.deleted()
	for i := range img.Layers {
		l := &img.Layers[i]
		all, err := entriesOf(ctx, indexes[i])
		if err != nil {
			return fmt.Errorf("count the entries of layer %d: %w", i, err)
		}
		l.Twice = Tally{max(0, all.Files-l.Unpacked.Files), all.Bytes - l.Unpacked.Bytes}
		l.Hidden = Tally{l.Unpacked.Files - c.visible[i].Files, l.Unpacked.Bytes - c.visible[i].Bytes}
		img.Shown.add(c.visible[i])
	}
	return ctx.Err()
}

// entriesOf counts a layer's entries that are files and no directories.
func entriesOf(ctx context.Context, x *index.Packed) (t Tally, err error) {
	err = x.Each(ctx, func(r *index.Record) error {
		_, whiteout := r.Whiteout()
		switch {
		case r.Kind == index.KindLink:
			t.Files++
		case r.Kind != index.KindFile || r.IsDir() || whiteout || r.Opaque():
		default:
			t.count(r.Size)
		}
		return nil
	})
	return t, err
}

// once is a content that is counted once in a layer, though it has several names.
type once struct {
	entry *index.Entry
	layer int32
}

func (m *Mark) once() once { return once{m.Entry, m.Layer} }

type counter struct {
	img *Image
	// stored has contents of several names that were counted already, and gone when
	// the last of their names goes.
	stored  map[once]bool
	gone    map[once]end
	visible []Tally
}

// end is what becomes of a content of several names.
type end struct {
	// layer is the last one in which a name goes.
	layer   int32
	deleted bool // and not replaced there
	shown   bool // the image shows one of the names
}

// ends notes that a name has no longer the content that it had.
func (c *counter) ends(had *Mark, layer int32, deleted bool) {
	e := c.gone[had.once()]
	if layer > e.layer {
		e.layer, e.deleted = layer, false
	}
	e.deleted = e.deleted || deleted && layer == e.layer
	c.gone[had.once()] = e
}

// deleted counts what was in deleted files of several names, in the layer that deletes
// the last one.
func (c *counter) deleted() {
	for content, e := range c.gone {
		if e.deleted && !e.shown {
			m := Mark{Entry: content.entry}
			c.img.Layers[e.layer].Deleted.Bytes += m.Size()
		}
	}
}

// countOnce is what a name counts for: nothing if another name of the file has been
// counted in the same layer.
func countOnce(m *Mark, layer int32, counted map[once]bool) int64 {
	if !m.Linked {
		return m.Size()
	}
	key := once{m.Entry, layer}
	if counted[key] {
		return 0
	}
	counted[key] = true
	return m.Size()
}

func (c *counter) file(f *File) {
	var before *Mark
	for m := range f.Marks() {
		l := &c.img.Layers[m.Layer]
		had := before != nil && !before.dir && before.Action != Deleted
		if had && before.Linked {
			c.ends(before, m.Layer, m.Action == Deleted)
		}
		switch {
		case m.Action == Deleted && had && before.Linked:
			l.Deleted.Files++
		case m.Action == Deleted && had:
			l.Deleted.count(before.Size())
		case m.Action == Deleted:
		case m.dir:
			if m.Entry != nil {
				l.Dirs++
			}
		default:
			c.stores(l, &m)
		}
		before = &m
	}
	c.shows(before)
}

// shows counts what the image shows of a path: its last mark; nil: it has none.
func (c *counter) shows(last *Mark) {
	switch {
	case last == nil || last.Action == Deleted:
	case last.dir:
		c.img.ShownDirs++
	default:
		// A name that is shown shows the content, whichever name was counted.
		c.visible[last.Layer].count(countOnce(last, -1, c.stored))
		if last.Linked {
			e := c.gone[last.once()]
			e.shown = true
			c.gone[last.once()] = e
		}
	}
}

func (c *counter) stores(l *Layer, m *Mark) {
	size := countOnce(m, m.Layer, c.stored)
	l.Unpacked.count(size)
	switch m.Action {
	case Added:
		l.Added.count(size)
	case Restored:
		l.Restored.count(size)
	default:
		l.Replaced.count(size)
	}
}
