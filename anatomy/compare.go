package anatomy

import (
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
	Added, Replaced, Metadata, Removed Tally
	// Files are the largest of these, the largest first.
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
	// Kind is Added, Replaced, Restored (only metadata differs) or Deleted.
	Kind Action
}

// Compare finds out what an image costs those who have the old one. most bounds the
// files that are listed.
func Compare(old, new *Image, most int) *Change {
	c := &Change{}
	c.blobs(old, new)
	d := &comparison{change: c, old: old.Whole(), new: new.Whole()}
	d.largest = top[Changed]{most: most, size: func(x Changed) int64 { return x.Bytes }}
	if c.Kept < len(new.Layers) || c.Kept < len(old.Layers) {
		d.dir(old.Root, new.Root)
	}
	c.Files = d.largest.list()
	for i := range c.Files {
		if f := &c.Files[i]; f.New != nil {
			f.Path = f.New.Path()
		} else {
			f.Path = f.Old.Path()
		}
	}
	return c
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
	change   *Change
	old, new *View
	largest  top[Changed]
}

// dir compares what is in a directory; either may be nil. Both are sorted by name.
func (d *comparison) dir(old, new *File) {
	var a, b []*File
	if old != nil {
		a = old.Files()
	}
	if new != nil {
		b = new.Files()
	}
	for len(a) > 0 || len(b) > 0 {
		var x, y *File
		if len(b) == 0 || len(a) > 0 && a[0].Name <= b[0].Name {
			x = a[0]
		}
		if len(a) == 0 || len(b) > 0 && b[0].Name <= a[0].Name {
			y = b[0]
		}
		if x != nil {
			a = a[1:]
		}
		if y != nil {
			b = b[1:]
		}
		d.file(x, y)
	}
}

// file compares one path.
func (d *comparison) file(old, new *File) {
	m, had := markIn(d.old, old)
	n, has := markIn(d.new, new)
	d.dir(dirIn(old, m, had), dirIn(new, n, has))
	had, has = had && !m.dir, has && !n.dir
	ch := Changed{Old: old, New: new}
	var sum *Tally
	switch {
	case !had && !has:
		return
	case !has:
		sum, ch.Kind, ch.Bytes, ch.New = &d.change.Removed, Deleted, d.old.Tally(old).Bytes, nil
	case !had:
		sum, ch.Kind, ch.Bytes, ch.Old = &d.change.Added, Added, d.new.Tally(new).Bytes, nil
	case m.Record.Mode&unix.S_IFMT != n.Record.Mode&unix.S_IFMT || !sameContent(m.Record, n.Record):
		sum, ch.Kind, ch.Bytes = &d.change.Replaced, Replaced, d.new.Tally(new).Bytes
	case !sameMetadata(m.Record, n.Record):
		sum, ch.Kind, ch.Bytes = &d.change.Metadata, Restored, d.new.Tally(new).Bytes
	default:
		return
	}
	sum.count(ch.Bytes)
	d.largest.add(ch)
}

func markIn(v *View, f *File) (Mark, bool) {
	if f == nil {
		return Mark{}, false
	}
	return v.Mark(f)
}

func dirIn(f *File, m Mark, ok bool) *File {
	if ok && m.dir {
		return f
	}
	return nil
}

func sameMetadata(a, b *index.Record) bool {
	return a == b || a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.MTime == b.MTime && maps.Equal(a.Xattrs, b.Xattrs)
}
