package anatomy

import (
	"iter"
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
	// Entry is that of the file's content. It is nil if the layer deleted the file, and
	// for directories without an entry. Of hard links it is the entry that has the
	// content.
	Entry *index.Entry
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
	return m.Entry.Size
}

func (m *Mark) regular() bool {
	return m.Entry != nil && m.Entry.Mode&unix.S_IFMT == unix.S_IFREG
}

// File is one path of an image, whether the image still shows it or not.
type File struct {
	// Name is one component of the path, any bytes but '/' and NUL; empty for the root.
	Name   string
	parent *File
	first  Mark
	later  *[]Mark // nil for most
	dir    *folder // nil for files that were never a directory
}

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
		for _, m := range f.more() {
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
	if f.dir == nil {
		return nil
	}
	return f.dir.find(name)
}

// more are the marks behind the first one.
func (f *File) more() []Mark {
	if f.later == nil {
		return nil
	}
	return *f.later
}

// upTo returns the last mark of the layers up to one; nil if there is none.
func (f *File) upTo(layer int32) *Mark {
	later := f.more()
	for i := len(later) - 1; i >= 0; i-- {
		if later[i].Layer <= layer {
			return &later[i]
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
// order of their paths, a directory before what is in it. The root is left out, and
// what is in it has the depth 0. It ends when visit returns false.
func (img *Image) Walk(visit func(f *File, depth int) bool) { img.Root.walk(0, visit) }

func (f *File) walk(depth int, visit func(*File, int) bool) bool {
	for _, c := range f.Files() {
		if !visit(c, depth) || !c.walk(depth+1, visit) {
			return false
		}
	}
	return true
}

// markOf returns the mark that a change makes; ok is false if it makes none.
func markOf(c *index.Covered) (m Mark, ok bool) {
	m = Mark{Entry: c.New.Entry, Layer: int32(c.Layer), Linked: c.New.Linked, dir: c.New.IsDir()}
	sameType := c.Old.Mode&unix.S_IFMT == c.New.Mode&unix.S_IFMT
	switch {
	case !c.New.Exists():
		m.Action, m.dir = Deleted, false
	case !c.Old.Exists():
		m.Action = Added
	case m.dir && sameType && m.Entry == nil:
		m.Action = Passed
	case sameType && sameContent(c.Old.Entry, m.Entry):
		m.Action = Restored
	default:
		m.Action = Replaced
	}
	return m, c.New.Exists() || c.Old.Exists()
}

// sameContent reports whether two entries of one type are the same but for metadata.
func sameContent(a, b *index.Entry) bool {
	if a == nil || b == nil {
		return true // of directories
	}
	return a.Digest() == b.Digest() && a.Size == b.Size && a.Link == b.Link && a.Rdev == b.Rdev
}
