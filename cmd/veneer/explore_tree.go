package main

import (
	"cmp"
	"slices"

	"github.com/veneer-build/veneer"
)

// fileTree is the tree of files of an image, or of a layer.
type fileTree struct {
	scroller
	image *veneer.Anatomy
	// layer is the one that is looked at; -1: the image as it runs. below: the files
	// of the layers below it are shown, too.
	layer  int
	below  bool
	byName bool
	open   map[*veneer.AnatomyFile]bool
	rows   []fileRow
	views  map[viewKey]*veneer.AnatomyView
}

type viewKey struct {
	layer int
	below bool
}

// fileRow is a line of the tree.
type fileRow struct {
	file  *veneer.AnatomyFile
	depth int
	// mark is a letter for what the layer did, or a space.
	mark      byte
	dir, open bool
	bytes     int64
}

func newFileTree(img *veneer.Anatomy) fileTree {
	t := fileTree{image: img, layer: -1, open: map[*veneer.AnatomyFile]bool{}, views: map[viewKey]*veneer.AnatomyView{}}
	t.show()
	return t
}

// view makes a view once.
func (t *fileTree) view(layer int, below bool) *veneer.AnatomyView {
	key := viewKey{layer, below || layer < 0}
	if v := t.views[key]; v != nil {
		return v
	}
	var v *veneer.AnatomyView
	switch {
	case layer < 0:
		v = t.image.Whole()
	case below:
		v = t.image.UpTo(layer)
	default:
		v = t.image.Layer(layer)
	}
	t.views[key] = v
	return v
}

// show makes the rows anew, and stays at the file that was chosen.
func (t *fileTree) show() {
	var at *veneer.AnatomyFile
	if row, ok := t.row(); ok {
		at = row.file
	}
	t.rows = t.list(t.rows[:0], t.image.Root, 0)
	if i := t.find(at); i >= 0 {
		t.at = i
	}
	t.at = max(0, min(t.at, len(t.rows)-1))
}

func (t *fileTree) row() (fileRow, bool) {
	if t.at < 0 || t.at >= len(t.rows) {
		return fileRow{}, false
	}
	return t.rows[t.at], true
}

func (t *fileTree) find(f *veneer.AnatomyFile) int {
	return slices.IndexFunc(t.rows, func(r fileRow) bool { return r.file == f })
}

// list appends what is in a directory, and in those below it that are open.
func (t *fileTree) list(rows []fileRow, dir *veneer.AnatomyFile, depth int) []fileRow {
	v := t.view(t.layer, t.below)
	var here []fileRow
	for _, f := range v.Children(dir) {
		m, _ := v.Mark(f)
		here = append(here, fileRow{file: f, depth: depth, mark: t.letter(&m), dir: v.IsDir(f) || t.emptied(f), open: t.open[f], bytes: v.Tally(f).Bytes})
	}
	here = append(here, t.gone(dir, depth)...)
	slices.SortStableFunc(here, func(a, b fileRow) int {
		if t.byName {
			return cmp.Compare(a.file.Name, b.file.Name)
		}
		return cmp.Compare(b.bytes, a.bytes)
	})
	for _, r := range here {
		rows = append(rows, r)
		if r.dir && r.open {
			rows = t.list(rows, r.file, depth+1)
		}
	}
	return rows
}

// gone are the files that the layer deletes from a directory, with the bytes that
// they had.
func (t *fileTree) gone(dir *veneer.AnatomyFile, depth int) []fileRow {
	if t.layer < 1 {
		return nil
	}
	var rows []fileRow
	for _, f := range dir.Files() {
		if t.deletes(f) {
			rows = append(rows, fileRow{
				file: f, depth: depth, mark: 'D', dir: t.emptied(f), open: t.open[f], bytes: t.view(t.layer-1, true).Tally(f).Bytes,
			})
		}
	}
	return rows
}

// emptied reports whether the layer deletes files in something that is no directory
// any more: it deletes that as well, or puts a file there.
func (t *fileTree) emptied(f *veneer.AnatomyFile) bool {
	return t.layer > 0 && slices.ContainsFunc(f.Files(), t.deletes)
}

// deletes reports whether the layer deletes a file.
func (t *fileTree) deletes(f *veneer.AnatomyFile) bool {
	for m := range f.Marks() {
		if int(m.Layer) == t.layer && m.Action == veneer.FileDeleted {
			return true
		}
	}
	return false
}

// has reports whether the tree has the file, were all directories open.
func (t *fileTree) has(f *veneer.AnatomyFile) bool {
	if _, ok := t.view(t.layer, t.below).Mark(f); ok {
		return true
	}
	return t.layer > 0 && t.deletes(f)
}

// letter says what the layer that is looked at did.
func (t *fileTree) letter(m *veneer.AnatomyMark) byte {
	if int(m.Layer) != t.layer || t.layer < 0 {
		return ' '
	}
	switch m.Action {
	case veneer.FileAdded:
		return 'A'
	case veneer.FileReplaced:
		return 'M'
	case veneer.FileRestored:
		if m.IsDir() {
			return ' '
		}
		return 'S'
	}
	return ' '
}

// key is for the tree.
func (t *fileTree) key(key string, shown int) {
	row, ok := t.row()
	switch key {
	case "enter":
		if ok && row.dir {
			t.set(row, !row.open)
		}
	case "right", "l":
		t.inward(row, ok && row.dir, shown)
	case "left", "h":
		t.outward(row, ok)
	default:
		t.scroller.key(key, len(t.rows), shown)
	}
}

// inward opens a directory, or goes on from one that is open.
func (t *fileTree) inward(row fileRow, dir bool, shown int) {
	switch {
	case dir && row.open:
		t.scroller.key("down", len(t.rows), shown)
	case dir:
		t.set(row, true)
	}
}

// outward closes a directory, or goes to the one that a file is in.
func (t *fileTree) outward(row fileRow, ok bool) {
	if ok && row.dir && row.open {
		t.set(row, false)
	} else if i := t.find(parentOf(row.file)); ok && i >= 0 {
		t.at = i
	}
}

func parentOf(f *veneer.AnatomyFile) *veneer.AnatomyFile {
	if f == nil {
		return nil
	}
	return f.Parent()
}

func (t *fileTree) set(row fileRow, open bool) {
	if open {
		t.open[row.file] = true
	} else {
		delete(t.open, row.file)
	}
	t.show()
}

// reveal opens what a file is in, and chooses it.
func (t *fileTree) reveal(f *veneer.AnatomyFile) {
	for p := parentOf(f); p != nil; p = p.Parent() {
		t.open[p] = true
	}
	t.show()
	if i := t.find(f); i >= 0 {
		t.at = i
	}
}
