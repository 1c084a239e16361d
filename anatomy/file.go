package anatomy

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree/index"
)

// Action is what a layer did to a file.
type Action uint8

const (
	// Added means that the layers below do not have the path.
	Added Action = iota
	// Replaced means that the layers below have other content there, or another type
	// of file.
	Replaced
	// Restored means that the layer stores a regular file again whose content is the
	// same, so only metadata can differ; or the entry of another type again.
	Restored
	// Passed means that the layer has no entry for a directory, but files in it.
	Passed
	// Deleted means that the layers below have the path, and that it is gone from this
	// layer on.
	Deleted
)

// String is for people.
func (a Action) String() string {
	return [...]string{"added", "replaced", "stored again", "passed", "deleted"}[a]
}

// Mark is what one layer did to a file.
type Mark struct {
	// Record is the entry of the file's content. It is nil if the layer deleted the
	// file, and for directories without an entry. Of hard links it is the entry that
	// has the content.
	Record *index.Record
	// Layer is the position of the layer, from the lowest.
	Layer  int32
	Action Action
	// Linked: the layer has other names of the file, or had them.
	Linked bool
	dir    bool
}

// IsDir reports whether the layer has a directory there.
func (m *Mark) IsDir() bool { return m.dir }

// Size is the length of the content; 0 for all but regular files.
func (m *Mark) Size() int64 {
	if !m.regular() {
		return 0
	}
	return m.Record.Size
}

func (m *Mark) regular() bool {
	return m.Record != nil && m.Record.Mode&unix.S_IFMT == unix.S_IFREG
}

// File is one path of an image, whether the image still shows it or not.
type File struct {
	// Name is one component of the path, any bytes but '/' and NUL; empty for the root.
	Name   string
	parent *File
	first  Mark
	later  []Mark
	dir    *folder // nil for files that were never a directory
}

// folder is what a file has that is or was a directory.
type folder struct {
	files  []*File // sorted by name once the image is complete
	byName map[string]*File
	number int32
}

// lookupFrom is the number of files in a directory from which a map is faster.
const lookupFrom = 16

// Parent returns the directory; nil for the root.
func (f *File) Parent() *File { return f.parent }

// Path is absolute in the image.
func (f *File) Path() string {
	if f.parent == nil {
		return "/"
	}
	n := 0
	for at := f; at.parent != nil; at = at.parent {
		n += len(at.Name) + 1
	}
	b := make([]byte, n)
	for at := f; at.parent != nil; at = at.parent {
		n -= len(at.Name)
		copy(b[n:], at.Name)
		n--
		b[n] = '/'
	}
	return string(b)
}

// Marks are what layers did to the file, the lowest layer first. The root has none.
func (f *File) Marks() iter.Seq[Mark] {
	return func(yield func(Mark) bool) {
		if f.parent == nil || !yield(f.first) {
			return
		}
		for _, m := range f.later {
			if !yield(m) {
				return
			}
		}
	}
}

// Files are all that any layer has or had in the directory, sorted by name. The
// caller must not write to it.
func (f *File) Files() []*File {
	if f.dir == nil {
		return nil
	}
	return f.dir.files
}

// Find returns what the directory has or had of that name; nil if nothing.
func (f *File) Find(name string) *File {
	switch {
	case f.dir == nil:
		return nil
	case f.dir.byName != nil:
		return f.dir.byName[name]
	}
	for _, c := range f.dir.files {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// upTo returns the last mark of the layers up to one; nil if there is none.
func (f *File) upTo(layer int32) *Mark {
	for i := len(f.later) - 1; i >= 0; i-- {
		if f.later[i].Layer <= layer {
			return &f.later[i]
		}
	}
	if f.parent != nil && f.first.Layer <= layer {
		return &f.first
	}
	return nil
}

// of returns the mark of a layer; nil if it has none.
func (f *File) of(layer int32) *Mark {
	if m := f.upTo(layer); m != nil && m.Layer == layer {
		return m
	}
	return nil
}

// add adds a file, or another mark to the one that is there.
func (f *File) add(name string, m Mark) *File {
	if have := f.Find(name); have != nil {
		have.later = append(have.later, m)
		return have
	}
	c := &File{Name: name, parent: f, first: m}
	f.directory().insert(c)
	return c
}

func (f *File) directory() *folder {
	if f.dir == nil {
		f.dir = &folder{}
	}
	return f.dir
}

func (d *folder) insert(f *File) {
	d.files = append(d.files, f)
	if d.byName == nil && len(d.files) > lookupFrom {
		d.byName = make(map[string]*File, 2*lookupFrom)
		for _, c := range d.files {
			d.byName[c.Name] = c
		}
	} else if d.byName != nil {
		d.byName[f.Name] = f
	}
}

// seal sorts all files, numbers the directories from next on, and returns the next
// number.
func (f *File) seal(next int32) int32 {
	if f.dir == nil {
		return next
	}
	f.dir.number, f.dir.byName = next, nil
	next++
	slices.SortFunc(f.dir.files, func(a, b *File) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range f.dir.files {
		next = c.seal(next)
	}
	return next
}

// File returns the file of a path, absolute or relative to the root; nil if no layer
// has one. Symbolic links are not followed.
func (img *Image) File(p string) *File {
	f := img.Root
	for name := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if name == "" {
			continue
		}
		if f = f.Find(name); f == nil {
			return nil
		}
	}
	return f
}

// Walk calls visit for every file of the image, also for those that are gone, in the
// order of their paths, a directory before what is in it. The root is left out. It
// ends when visit returns false.
func (img *Image) Walk(visit func(*File) bool) { img.Root.walk(visit) }

func (f *File) walk(visit func(*File) bool) bool {
	for _, c := range f.Files() {
		if !visit(c) || !c.walk(visit) {
			return false
		}
	}
	return true
}

// markOf returns the mark that a change makes; ok is false if it makes none.
func markOf(c *index.Covered) (m Mark, ok bool) {
	m = Mark{Record: c.New.Record, Layer: int32(c.Layer), Linked: c.New.Linked, dir: c.New.IsDir()}
	sameType := c.Old.Mode&unix.S_IFMT == c.New.Mode&unix.S_IFMT
	switch {
	case !c.New.Exists():
		m.Action, m.dir = Deleted, false
	case !c.Old.Exists():
		m.Action = Added
	case m.dir && sameType && m.Record == nil:
		m.Action = Passed
	case sameType && sameContent(c.Old.Record, m.Record):
		m.Action = Restored
	default:
		m.Action = Replaced
	}
	return m, c.New.Exists() || c.Old.Exists()
}

// sameContent reports whether two records of one type are the same but for metadata.
func sameContent(a, b *index.Record) bool {
	if a == nil || b == nil {
		return true // of directories
	}
	return a.Digest == b.Digest && a.Size == b.Size && a.Link == b.Link && a.Rdev == b.Rdev
}

// dirOf finds a directory of the tree that is being made. Of a directory one is told
// before of what is in it.
func (img *Image) dirOf(p string) (*File, error) {
	if f := img.File(p); f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("a layer has files in %q, which it does not have", p)
}
