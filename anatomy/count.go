package anatomy

import (
	"context"

	"github.com/veneer-build/veneer/differ/tree/index"
)

// count fills in the numbers of the layers and of the image.
func (img *Image) count(ctx context.Context, indexes []*index.Index) error {
	c := counter{img: img, stored: map[once]bool{}, gone: map[once]bool{}, visible: make([]Tally, len(img.Layers))}
	img.Walk(func(f *File) bool {
		c.file(f)
		return ctx.Err() == nil
	})
	for i := range img.Layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		l := &img.Layers[i]
		all := entriesOf(indexes[i])
		l.Twice = Tally{max(0, all.Files-l.Unpacked.Files), all.Bytes - l.Unpacked.Bytes}
		l.Hidden = Tally{l.Unpacked.Files - c.visible[i].Files, l.Unpacked.Bytes - c.visible[i].Bytes}
		img.Shown.add(c.visible[i])
	}
	return ctx.Err()
}

// entriesOf counts a layer's entries that are files and no directories.
func entriesOf(x *index.Index) (t Tally) {
	for i := range x.Records {
		r := &x.Records[i]
		_, whiteout := r.Whiteout()
		switch {
		case r.Kind == index.KindLink:
			t.Files++
		case r.Kind != index.KindFile || r.IsDir() || whiteout || r.Opaque():
		default:
			t.count(r.Size)
		}
	}
	return t
}

// once is a content that is counted once in a layer, though it has several names.
type once struct {
	record *index.Record
	layer  int32
}

func (m *Mark) once() once { return once{m.Record, m.Layer} }

type counter struct {
	img *Image
	// stored and gone have contents of several names that were counted already.
	stored, gone map[once]bool
	visible      []Tally
}

// countOnce is what a name counts for: nothing if another name of the file has been
// counted in the same layer.
func countOnce(m *Mark, layer int32, counted map[once]bool) int64 {
	if !m.Linked {
		return m.Size()
	}
	key := once{m.Record, layer}
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
		switch {
		case m.Action == Deleted:
			if before != nil && !before.dir && before.Action != Deleted {
				l.Deleted.count(countOnce(before, m.Layer, c.gone))
			}
		case m.dir:
			if m.Record != nil {
				l.Dirs++
			}
		default:
			c.stores(l, &m)
		}
		before = &m
	}
	switch {
	case before == nil || before.Action == Deleted:
	case before.dir:
		c.img.ShownDirs++
	default:
		// A name that is shown shows the content, whichever name was counted.
		c.visible[before.Layer].count(countOnce(before, -1, c.stored))
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
