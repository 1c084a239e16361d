package filecache

import (
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/varint"
)

// A listing is the number of its entries and then each of them: flags, the name,
// and the fields that the flags name. Inodes and times are differences to the entry
// before. Owner, mode and device are left out if they are equal to those of the
// entry before.
const (
	entrySame   = 1 << 0 // mode, owner and device are those of the entry before
	entrySize   = 1 << 1
	entryLinked = 1 << 2 // it has further hard links
	entryRdev   = 1 << 3
	entryLink   = 1 << 4
	entryXattrs = 1 << 5
	entryAll    = 1<<6 - 1
)

func encodeListing(entries []tree.Entry) []byte {
	b := make([]byte, 0, 16+40*len(entries))
	b = binary.AppendUvarint(b, uint64(len(entries)))
	var prev tree.Entry
	for i := range entries {
		e := &entries[i]
		b = appendListed(b, e, &prev)
		prev = *e
	}
	return slices.Clip(slices.Clone(b))
}

func appendListed(b []byte, e, prev *tree.Entry) []byte {
	same := e.Mode == prev.Mode && e.UID == prev.UID && e.GID == prev.GID && e.Stamp.Dev == prev.Stamp.Dev
	flags := uint64(0)
	for i, set := range []bool{same, e.Size != 0, e.Inode != tree.Inode{}, e.Rdev != 0, e.Link != "", len(e.Xattrs) > 0} {
		if set {
			flags |= 1 << i
		}
	}
	b = varint.AppendString(binary.AppendUvarint(b, flags), e.Name)
	if !same {
		for _, v := range []uint64{uint64(e.Mode), uint64(e.UID), uint64(e.GID), e.Stamp.Dev} {
			b = binary.AppendUvarint(b, v)
		}
	}
	b = binary.AppendVarint(b, int64(e.Stamp.Ino-prev.Stamp.Ino))
	b = binary.AppendVarint(b, e.Stamp.CTime-prev.Stamp.CTime)
	b = binary.AppendVarint(b, e.MTime-prev.MTime)
	b = binary.AppendUvarint(b, uint64(e.MTimeNsec))
	if e.Size != 0 {
		b = binary.AppendUvarint(b, uint64(e.Size))
	}
	if e.Rdev != 0 {
		b = binary.AppendUvarint(b, e.Rdev)
	}
	if e.Link != "" {
		b = varint.AppendString(b, e.Link)
	}
	if len(e.Xattrs) > 0 {
		b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
		for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
			b = varint.AppendString(varint.AppendString(b, k), e.Xattrs[k])
		}
	}
	return b
}

// decodeListing returns the entries, sorted by name. All their strings share one
// copy of the block.
func decodeListing(block []byte) ([]tree.Entry, error) {
	d := listingDecoder{Reader: varint.Of(block), text: string(block)}
	n := d.Uvarint(uint64(len(block))) // Each entry has at least a byte.
	entries := make([]tree.Entry, 0, n)
	var prev tree.Entry
	for range n {
		e := d.entry(&prev)
		if len(entries) > 0 && e.Name <= prev.Name {
			d.Fail(errListing)
		}
		if err := d.Err(); err != nil {
			return nil, err
		}
		entries = append(entries, e)
		prev = e
	}
	if d.More() {
		return nil, errListing
	}
	return entries, d.Err()
}

var errListing = errors.New("not a listing")

// listingDecoder reads a listing.
type listingDecoder struct {
	varint.Reader
	text string // the whole block; strings are parts of it
}

func (d *listingDecoder) entry(prev *tree.Entry) tree.Entry {
	flags := d.Uvarint(entryAll)
	e := tree.Entry{Name: d.string()}
	e.Mode, e.UID, e.GID, e.Stamp.Dev = prev.Mode, prev.UID, prev.GID, prev.Stamp.Dev
	if flags&entrySame == 0 {
		e.Mode = uint32(d.Uvarint(math.MaxUint32))
		e.UID = uint32(d.Uvarint(math.MaxUint32))
		e.GID = uint32(d.Uvarint(math.MaxUint32))
		e.Stamp.Dev = d.Uvarint(math.MaxUint64)
	}
	e.Stamp.Ino = prev.Stamp.Ino + uint64(d.Varint())
	e.Stamp.CTime = prev.Stamp.CTime + d.Varint()
	e.MTime = prev.MTime + d.Varint()
	e.MTimeNsec = int32(d.Uvarint(999_999_999))
	e.Stamp.MTime = e.MTime*1e9 + int64(e.MTimeNsec)
	if flags&entrySize != 0 {
		e.Size = int64(d.Uvarint(math.MaxInt64))
	}
	if flags&entryLinked != 0 {
		e.Inode = tree.Inode{Dev: e.Stamp.Dev, Ino: e.Stamp.Ino}
	}
	if flags&entryRdev != 0 {
		e.Rdev = d.Uvarint(math.MaxUint64)
	}
	if flags&entryLink != 0 {
		e.Link = d.string()
	}
	if flags&entryXattrs != 0 {
		n := d.Uvarint(uint64(d.Left()))
		e.Xattrs = make(map[string]string, min(n, 8))
		for range n {
			k := d.string()
			e.Xattrs[k] = d.string()
		}
	}
	return e
}

// string reads a string. It is a part of text.
func (d *listingDecoder) string() string {
	n := len(d.Part())
	end := len(d.text) - d.Left()
	return d.text[end-n : end]
}
