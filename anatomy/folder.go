package anatomy

import (
	"cmp"
	"slices"

	"github.com/veneer-build/veneer/differ/tree/index"
)

// folder is what a file has that is or was a directory.
type folder struct {
	// files are sorted by name once the image is complete. Before, that is true of the
	// first ones, which were there before the layer that came last.
	files  []*File
	sorted int
	layer  int32
	number int32
}

func byName(f *File, name string) int { return cmp.Compare(f.Name, name) }

func (d *folder) find(name string) *File {
	if i, ok := slices.BinarySearchFunc(d.files[:d.sorted], name, byName); ok {
		return d.files[i]
	}
	return nil
}

// settle sorts those that are new in among the others.
func (d *folder) settle() {
	fresh := d.files[d.sorted:]
	slices.SortFunc(fresh, func(a, b *File) int { return cmp.Compare(a.Name, b.Name) })
	left := d.sorted // of those that were there, these have not moved yet
	d.sorted = len(d.files)
	if len(fresh) == 0 || left == 0 || d.files[left-1].Name < fresh[0].Name {
		return
	}
	fresh = slices.Clone(fresh)
	for i := len(fresh) - 1; i >= 0; i-- {
		at, _ := slices.BinarySearchFunc(d.files[:left], fresh[i].Name, byName)
		copy(d.files[at+i+1:], d.files[at:left])
		d.files[at+i] = fresh[i]
		left = at
	}
}

// maker makes the tree of files while it is told what layers change.
type maker struct {
	// open are the directories on the way to what was told of last, the root first.
	open []*File
	slab []File
}

// change takes one change. A layer tells of each path once.
func (k *maker) change(c index.Covered) error {
	m, ok := markOf(&c)
	if !ok {
		return nil
	}
	f := k.add(k.open[c.Depth], c.Name, m)
	if m.dir && f.dir == nil {
		f.dir = &folder{}
	}
	k.open = append(k.open[:c.Depth+1], f)
	return nil
}

// add adds a file, or another mark to the one that is there.
func (k *maker) add(dir *File, name string, m Mark) *File {
	if dir.dir == nil {
		dir.dir = &folder{}
	}
	d := dir.dir
	if d.layer != m.Layer {
		d.settle()
		d.layer = m.Layer
	}
	if have := d.find(name); have != nil {
		later := append(have.more(), m)
		have.later = &later
		return have
	}
	if len(k.slab) == 0 {
		k.slab = make([]File, 256)
	}
	f := &k.slab[0]
	k.slab = k.slab[1:]
	*f = File{Name: name, parent: dir, first: m}
	d.files = append(d.files, f)
	return f
}

// seal sorts all files, numbers the directories from next on, and returns the next
// number.
func (f *File) seal(next int32) int32 {
	if f.dir == nil {
		return next
	}
	f.dir.number = next
	next++
	f.dir.settle()
	f.dir.files = slices.Clip(f.dir.files)
	for _, c := range f.dir.files {
		next = c.seal(next)
	}
	return next
}
