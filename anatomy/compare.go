package anatomy

import (
	"context"
	"fmt"
	"maps"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree/index"
)

// Change is what another image costs those who have one.
type Change struct {
	// Fetch are the layers' blobs that the old image does not have, each once; a
	// registry sends these. Have are the others. Files counts blobs.
	Fetch, Have Tally
	// Kept counts the lowest layers that are the same in both. Unpack are the files
	// of the layers above them, which a disk has to take in besides the old image's.
	Kept   int
	Unpack Tally

	// Added, Replaced and Removed are the files that differ between what the images
	// show; Metadata are those with other metadata and the same content. Removed
	// holds the old image's bytes, the others the new one's.
	// A file of several names has its bytes once. It differs if it gets another name:
	// a layer stores all names of a file or none.
	Added, Replaced, Metadata, Removed Tally
	// Dirs are the directories that one image lacks, or that have another owner, mode
	// or attribute. Their times are left out: unpacking a layer changes them.
	Dirs int64
	// Files are the largest of all these, the largest first.
	Files []Changed
}

// Thin is what one layer of the difference holds: what Veneer's delta stores.
func (c *Change) Thin() (t Tally) {
	for _, u := range []Tally{c.Added, c.Replaced, c.Metadata} {
		t.add(u)
	}
	return t
}

// Changed is one file that differs.
type Changed struct {
	Path string
	// Old and New are the files in the two images; nil: it has none.
	Old, New *File
	// Bytes are the new content's, and the old one's if there is no new one.
	Bytes int64
	// Kind is Added, Replaced, Restored (only metadata or names differ) or Deleted.
	Kind Action
	// Dir: it is a directory.
	Dir bool
}

// Compare finds out what an image costs those who have the old one. most bounds the
// files that are listed.
func Compare(ctx context.Context, old, new *Image, most int) (*Change, error) {
	c := &Change{}
	c.blobs(old, new)
	d := &comparison{alive: ctx.Err, change: c, old: old.Whole(), new: new.Whole(), kept: map[inode]bool{}, stored: map[inode]bool{}}
	d.largest = top[Changed]{most: most, size: func(x Changed) int64 { return x.Bytes }}
	if c.Kept < len(new.Layers) || c.Kept < len(old.Layers) {
		d.dir(old.Root, new.Root, d.link)
		d.settle()
		d.dir(old.Root, new.Root, d.file)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("compare two images: %w", err)
	}
	c.Files = d.largest.list()
	for i := range c.Files {
		if f := &c.Files[i]; f.New != nil {
			f.Path = f.New.Path()
		} else {
			f.Path = f.Old.Path()
		}
	}
	return c, nil
}

func (c *Change) blobs(old, new *Image) {
	have := map[digest.Digest]bool{}
	for _, l := range old.Layers {
		have[l.Desc.Digest] = true
	}
	seen := map[digest.Digest]bool{}
	for i := range new.Layers {
		l := &new.Layers[i]
		if c.Kept == i && i < len(old.Layers) && old.Layers[i].DiffID == l.DiffID {
			c.Kept++
		} else {
			c.Unpack.add(l.Unpacked)
		}
		if seen[l.Desc.Digest] {
			continue
		}
		seen[l.Desc.Digest] = true
		if have[l.Desc.Digest] {
			c.Have.count(l.Stored)
		} else {
			c.Fetch.count(l.Stored)
		}
	}
}

type comparison struct {
	alive    func() error
	change   *Change
	old, new *View
	largest  top[Changed]
	// kept are files of the old image of which the new one has a name.
	kept map[inode]bool
	// members are names of files that have or had several, and stored those files of
	// the new image that a layer has to store for the sake of their names.
	members []member
	stored  map[inode]bool
}

// side is what an image shows at a path.
type side struct {
	file *File
	mark Mark
	ok   bool
}

func (s *side) isFile() bool { return s.ok && !s.mark.dir }

func (s *side) isDir() bool { return s.ok && s.mark.dir }

func sideOf(v *View, f *File) (s side) {
	if f != nil {
		s.file = f
		s.mark, s.ok = v.Mark(f)
	}
	return s
}

// dir visits what is in a directory, first what is deepest; either may be nil. Both
// are sorted by name.
func (d *comparison) dir(old, new *File, visit func(old, new side)) {
	var a, b []*File
	if old != nil {
		a = old.Files()
	}
	if new != nil {
		b = new.Files()
	}
	for (len(a) > 0 || len(b) > 0) && d.alive() == nil {
		var f, g *File
		f, g, a, b = firstOf(a, b)
		x, y := sideOf(d.old, f), sideOf(d.new, g)
		var p, q *File
		if x.isDir() {
			p = f
		}
		if y.isDir() {
			q = g
		}
		if p != nil || q != nil {
			d.dir(p, q, visit)
		}
		visit(x, y)
	}
}

// firstOf takes the first name of two sorted lists, from both if both have it.
func firstOf(a, b []*File) (f, g *File, restA, restB []*File) {
	inA := len(b) == 0 || len(a) > 0 && a[0].Name <= b[0].Name
	inB := len(a) == 0 || len(b) > 0 && b[0].Name <= a[0].Name
	if inA {
		f, a = a[0], a[1:]
	}
	if inB {
		g, b = b[0], b[1:]
	}
	return f, g, a, b
}

// file compares one path.
func (d *comparison) file(old, new side) {
	d.directory(old, new)
	m, n := &old.mark, &new.mark
	switch {
	case !old.isFile() && !new.isFile():
	case !new.isFile():
		bytes := d.old.Tally(old.file).Bytes
		if d.kept[old.inode()] {
			bytes = 0
		}
		d.add(&d.change.Removed, Changed{Kind: Deleted, Old: old.file, Bytes: bytes})
	case !old.isFile():
		d.add(&d.change.Added, Changed{Kind: Added, New: new.file, Bytes: d.new.Tally(new.file).Bytes})
	case !sameTypeAndContent(m.Entry, n.Entry):
		d.add(&d.change.Replaced, Changed{Kind: Replaced, Old: old.file, New: new.file, Bytes: d.new.Tally(new.file).Bytes})
	case !sameMetadata(m.Entry, n.Entry) || d.stored[new.inode()]:
		d.add(&d.change.Metadata, Changed{Kind: Restored, Old: old.file, New: new.file, Bytes: d.new.Tally(new.file).Bytes})
	}
}

func (d *comparison) add(sum *Tally, c Changed) {
	sum.count(c.Bytes)
	d.largest.add(c)
}

// directory compares one path as a directory.
func (d *comparison) directory(old, new side) {
	c := Changed{Dir: true}
	switch {
	case !old.isDir() && !new.isDir():
		return
	case !new.isDir():
		c.Kind, c.Old = Deleted, old.file
	case !old.isDir():
		c.Kind, c.New = Added, new.file
	case !sameDirectory(d.old.dirEntry(old.file), d.new.dirEntry(new.file)):
		c.Kind, c.Old, c.New = Restored, old.file, new.file
	default:
		return
	}
	d.change.Dirs++
	d.largest.add(c)
}

// dirEntry is the entry that a directory has its metadata from; nil: none has one. A
// layer without one takes the metadata of those below it.
func (v *View) dirEntry(f *File) *index.Entry {
	var e *index.Entry
	for m := range f.Marks() {
		if m.Layer <= v.layer && m.dir && m.Entry != nil {
			e = m.Entry
		}
	}
	return e
}

func sameDirectory(a, b *index.Entry) bool {
	// That of a directory that no layer has an entry for.
	implied := &index.Entry{Common: &index.Common{Mode: unix.S_IFDIR | 0o755}}
	if a == nil {
		a = implied
	}
	if b == nil {
		b = implied
	}
	return a.Mode&0o7777 == b.Mode&0o7777 && a.UID == b.UID && a.GID == b.GID && maps.Equal(a.Xattrs, b.Xattrs)
}

func sameTypeAndContent(a, b *index.Entry) bool {
	return a.Mode&unix.S_IFMT == b.Mode&unix.S_IFMT && sameContent(a, b)
}

func sameFile(a, b *index.Entry) bool { return sameTypeAndContent(a, b) && sameMetadata(a, b) }

func sameMetadata(a, b *index.Entry) bool {
	return a == b || a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.MTime == b.MTime && maps.Equal(a.Xattrs, b.Xattrs)
}
