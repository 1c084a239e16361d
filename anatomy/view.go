package anatomy

import (
	"cmp"
	"slices"
)

// View is one way of looking at an image's files.
type View struct {
	img *Image
	// layer is the last one that is looked at; of: no other is.
	layer int32
	of    *layerView
	// tallies are of the directories, by their numbers. Of the view of one layer they
	// are those of its directories.
	tallies []Tally
	// named are files whose content another name in the view counts.
	named map[*File]bool
}

// Whole are the files that the image shows. It is made once.
func (img *Image) Whole() *View { return img.whole() }

// UpTo are the files that the image would show without the layers above one.
func (img *Image) UpTo(layer int) *View { return img.view(int32(layer)) }

// Layer are the files that one layer stores, with the directories on the way to
// them. What it deletes is not among them; see [File.Marks]. The views of all layers
// are made once, together.
func (img *Image) Layer(layer int) *View { return img.layers()[layer] }

func (img *Image) view(layer int32) *View {
	v := &View{img: img, layer: layer, tallies: make([]Tally, img.dirs), named: map[*File]bool{}}
	v.sum(img.Root, map[once]bool{})
	return v
}

func (v *View) sum(f *File, counted map[once]bool) (t Tally) {
	for _, c := range f.Files() {
		m := v.mark(c)
		switch {
		case m == nil || m.Action == Deleted:
			// What is below it is not in the view either.
		case m.dir:
			t.add(v.sum(c, counted))
		default:
			t.count(v.counts(c, m, counted))
		}
	}
	v.tallies[f.dir.number] = t
	return t
}

// counts returns the bytes that a file counts in the view.
func (v *View) counts(f *File, m *Mark, counted map[once]bool) int64 {
	size := countOnce(m, m.Layer, counted)
	if size < m.Size() {
		v.named[f] = true
	}
	return size
}

func (v *View) mark(f *File) *Mark {
	if v.of != nil {
		return f.of(v.layer)
	}
	return f.upTo(v.layer)
}

// dirTally is the tally of a directory.
func (v *View) dirTally(f *File) Tally {
	if v.of == nil {
		return v.tallies[f.dir.number]
	}
	if at, ok := v.of.find(f); ok {
		return v.tallies[at]
	}
	return Tally{}
}

// files are those in a directory that may be in the view, in the order of their names.
func (v *View) files(f *File) []*File {
	if v.of == nil {
		return f.Files()
	}
	return v.of.files(f)
}

// Mark returns what made the file what it is in the view. ok is false if the view
// does not have the file, and for the root.
func (v *View) Mark(f *File) (m Mark, ok bool) {
	if at := v.mark(f); at != nil && at.Action != Deleted {
		return *at, true
	}
	return Mark{}, false
}

// IsDir reports whether the file is a directory in the view.
func (v *View) IsDir(f *File) bool {
	m, ok := v.Mark(f)
	return f.parent == nil || ok && m.dir
}

// Tally counts what is at the file and below it in the view. The content of a file
// of several names counts for the first of them, in the order of their paths.
func (v *View) Tally(f *File) Tally {
	m, ok := v.Mark(f)
	switch {
	case v.IsDir(f):
		return v.dirTally(f)
	case !ok:
		return Tally{}
	case v.named[f]:
		return Tally{Files: 1}
	}
	return Tally{1, m.Size()}
}

// Children are the files in a directory, the largest first, then by name.
func (v *View) Children(f *File) []*File {
	if !v.IsDir(f) {
		return nil
	}
	type sized struct {
		file  *File
		bytes int64
	}
	var list []sized
	for _, c := range v.files(f) {
		if _, ok := v.Mark(c); ok {
			list = append(list, sized{c, v.Tally(c).Bytes})
		}
	}
	slices.SortStableFunc(list, func(a, b sized) int { return cmp.Compare(b.bytes, a.bytes) })
	files := make([]*File, len(list))
	for i := range list {
		files[i] = list[i].file
	}
	return files
}

// Largest are the largest files of the view, at most n, the largest first.
func (v *View) Largest(n int) []*File {
	t := top[*File]{most: n, size: func(f *File) int64 { return v.Tally(f).Bytes }}
	v.img.Walk(func(f *File, _ int) bool {
		if m := v.mark(f); m != nil && m.regular() && m.Action != Deleted && !v.named[f] {
			t.add(f)
		}
		return true
	})
	return t.list()
}

// top keeps the largest of many values.
type top[T any] struct {
	most int
	size func(T) int64
	kept []T
}

func (t *top[T]) add(v T) {
	t.kept = append(t.kept, v)
	if len(t.kept) >= 4*t.most+64 {
		t.cut()
	}
}

// cut keeps as many as are wanted. Of equals, those that came first stay.
func (t *top[T]) cut() {
	slices.SortStableFunc(t.kept, func(a, b T) int { return cmp.Compare(t.size(b), t.size(a)) })
	if len(t.kept) > t.most {
		clear(t.kept[t.most:])
		t.kept = t.kept[:t.most]
	}
}

func (t *top[T]) list() []T {
	t.cut()
	return slices.Clone(t.kept)
}
