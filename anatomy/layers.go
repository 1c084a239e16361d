package anatomy

import "slices"

// layerView are the directories of the view of one layer, with what the layer has in
// them, so that nobody has to go through what other layers have.
type layerView struct {
	// dirs are the numbers of the directories, in order. What is in the i-th one is
	// all[from[i]:to[i]].
	dirs     []int32
	from, to []int32
	all      []*File
}

func (l *layerView) find(f *File) (at int, ok bool) {
	if f.dir == nil {
		return 0, false
	}
	return slices.BinarySearch(l.dirs, f.dir.number)
}

func (l *layerView) files(f *File) []*File {
	at, ok := l.find(f)
	if !ok {
		return nil
	}
	return l.all[l.from[at]:l.to[at]]
}

// layerWalk makes the views of all layers in one walk through the files. It goes
// through the marks of each file once, however many layers there are.
type layerWalk struct {
	views   []*View
	open    [][]openDir
	counted map[once]bool
}

// openDir is a directory of a layer's view that one is in.
type openDir struct {
	at    int // in layerView.dirs
	files []*File
	tally Tally
}

func (img *Image) layerViews() []*View {
	w := &layerWalk{views: make([]*View, len(img.Layers)), open: make([][]openDir, len(img.Layers)), counted: map[once]bool{}}
	for i := range w.views {
		w.views[i] = &View{img: img, layer: int32(i), of: &layerView{}, named: map[*File]bool{}}
		w.enter(int32(i), img.Root)
	}
	w.within(img.Root)
	for i := range w.views {
		w.leave(int32(i))
	}
	return w.views
}

// within goes through what is in a directory, which is open in all layers that have it.
func (w *layerWalk) within(dir *File) {
	for _, f := range dir.Files() {
		for m := range f.Marks() {
			if m.Action == Deleted {
				continue
			}
			// A layer that has the file has the directory.
			d := w.top(m.Layer)
			d.files = append(d.files, f)
			if m.dir {
				w.enter(m.Layer, f)
			} else {
				d.tally.count(w.views[m.Layer].counts(f, &m, w.counted))
			}
		}
		if f.dir == nil {
			continue
		}
		w.within(f)
		for m := range f.Marks() {
			if m.dir {
				w.leave(m.Layer)
			}
		}
	}
}

func (w *layerWalk) top(layer int32) *openDir {
	open := w.open[layer]
	return &open[len(open)-1]
}

func (w *layerWalk) enter(layer int32, f *File) {
	v := w.views[layer]
	w.open[layer] = append(w.open[layer], openDir{at: len(v.of.dirs)})
	v.of.dirs = append(v.of.dirs, f.dir.number)
	v.of.from, v.of.to = append(v.of.from, 0), append(v.of.to, 0)
	v.tallies = append(v.tallies, Tally{})
}

func (w *layerWalk) leave(layer int32) {
	v, d := w.views[layer], w.top(layer)
	v.tallies[d.at] = d.tally
	v.of.from[d.at] = int32(len(v.of.all))
	v.of.all = append(v.of.all, d.files...)
	v.of.to[d.at] = int32(len(v.of.all))
	t := d.tally
	w.open[layer] = w.open[layer][:len(w.open[layer])-1]
	if len(w.open[layer]) > 0 {
		w.top(layer).tally.add(t)
	}
}
