package anatomy

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/veneer-build/veneer/differ/tree/index"
)

// Waste is what an image stores without showing it, or shows several times. The
// bytes are those of contents before compression.
type Waste struct {
	// Replaced are files that an upper layer has with other content, or another type
	// of file in the place of. Deleted are files that an upper layer deletes.
	Replaced, Deleted Tally
	// Restored are files that an upper layer stores again with the same content: for
	// the sake of an owner, a mode, a time or an attribute, or for nothing.
	Restored Tally
	// Twice are entries that a later one of the same layer replaces.
	Twice Tally
	// Copies are files that the image shows whose content another file has, too: all
	// but one of each content. Files of several names are one file.
	Copies Tally

	// Files are the largest of Replaced, Deleted and Restored, and Same the contents
	// whose copies take most; both the largest first.
	Files []Wasted
	Same  []Same
}

// Hidden is all that the image stores and does not show.
func (w *Waste) Hidden() (t Tally) {
	for _, u := range []Tally{w.Replaced, w.Deleted, w.Restored, w.Twice} {
		t.add(u)
	}
	return t
}

// Wasted is a content that a layer stores and the image does not show.
type Wasted struct {
	File *File
	// Stored is the mark of the layer that has the bytes, and By that of the layer
	// that hides them.
	Stored, By Mark
}

// Same are files that the image shows with the same content.
type Same struct {
	// Files are in the order of their paths.
	Files []*File
	// Size is that of one of them.
	Size int64
}

// Spare is what all but one of the files take.
func (s *Same) Spare() int64 { return s.Size * int64(len(s.Files)-1) }

// Waste finds out what is stored in vain. most bounds Files and Same each.
func (img *Image) Waste(ctx context.Context, most int) (*Waste, error) {
	w := &Waste{}
	whole := img.Whole()
	h := hidden{w: w, shown: map[*index.Entry]bool{}, counted: map[once]bool{}}
	h.largest = top[Wasted]{most: most, size: func(x Wasted) int64 { return x.Stored.Size() }}
	var regular []*File
	img.Walk(func(f *File, _ int) bool {
		m, ok := whole.Mark(f)
		if ok && m.Linked {
			h.shown[m.Entry] = true
		}
		if ok && m.Size() > 0 && !whole.named[f] {
			regular = append(regular, f)
		}
		return ctx.Err() == nil
	})
	img.Walk(func(f *File, _ int) bool {
		h.file(f)
		return ctx.Err() == nil
	})
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("find what an image stores in vain: %w", err)
	}
	for _, l := range img.Layers {
		w.Twice.add(l.Twice)
	}
	w.Files = h.largest.list()
	w.copies(whole, regular, most)
	return w, nil
}

type hidden struct {
	w *Waste
	// shown are the contents of several names of which the image shows one.
	shown   map[*index.Entry]bool
	counted map[once]bool
	largest top[Wasted]
}

// file counts what is hidden at one path.
func (h *hidden) file(f *File) {
	var before *Mark
	for m := range f.Marks() {
		if before != nil && !before.dir && before.Action != Deleted {
			h.hides(f, before, &m)
		}
		before = &m
	}
}

func (h *hidden) hides(f *File, stored, by *Mark) {
	size := stored.Size()
	if stored.Linked {
		size = countOnce(stored, stored.Layer, h.counted)
		if h.shown[stored.Entry] {
			size = 0
		}
	}
	switch by.Action {
	case Deleted:
		h.w.Deleted.count(size)
	case Restored:
		h.w.Restored.count(size)
	default:
		h.w.Replaced.count(size)
	}
	if size > 0 {
		h.largest.add(Wasted{File: f, Stored: *stored, By: *by})
	}
}

// copies counts files with the same content. files are in the order of their paths.
func (w *Waste) copies(v *View, files []*File, most int) {
	entry := func(f *File) *index.Entry { return v.mark(f).Entry }
	slices.SortStableFunc(files, func(a, b *File) int {
		x, y := entry(a), entry(b)
		if x.Size != y.Size {
			return cmp.Compare(y.Size, x.Size)
		}
		m, n := x.Digest(), y.Digest()
		return bytes.Compare(m[:], n[:])
	})
	t := top[Same]{most: most, size: func(s Same) int64 { return s.Spare() }}
	for len(files) > 0 {
		n := 1
		for n < len(files) && entry(files[n]).Digest() == entry(files[0]).Digest() {
			n++
		}
		if n > 1 {
			s := Same{Files: slices.Clip(files[:n]), Size: entry(files[0]).Size}
			w.Copies.add(Tally{int64(n - 1), s.Spare()})
			t.add(s)
		}
		files = files[n:]
	}
	w.Same = t.list()
}
