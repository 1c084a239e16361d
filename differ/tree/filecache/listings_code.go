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

// A listing is the number of its entries and then each of them: flags, the
// name, and what the flags name. Inodes and times are differences to the entry
// before, owners, modes and devices are left out where they are the same.
const (
	entrySame   = 1 << 0 // mode, owner and device are those of the entry before
	entrySize   = 1 << 1
	entryLinked = 1 << 2 // it has further names
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

// decodeListing returns new entries, sorted by name; all strings share one copy
// of the block.
func decodeListing(block []byte) ([]tree.Entry, error) {
	d := listingDecoder{text: string(block), rest: block}
	n := d.uvarint(uint64(len(block))) // An entry is longer than a byte.
	entries := make([]tree.Entry, 0, n)
	var prev tree.Entry
	for range n {
		e := d.entry(&prev)
		if d.err == nil && len(entries) > 0 && e.Name <= prev.Name {
			d.err = errListing
		}
		if d.err != nil {
			return nil, d.err
		}
		entries = append(entries, e)
		prev = e
	}
	if len(d.rest) > 0 {
		return nil, errListing
	}
	return entries, d.err
}

var errListing = errors.New("not a listing")

// listingDecoder reads a listing; the first error sticks.
type listingDecoder struct {
	text string
	rest []byte // the end of text
	err  error
}

func (d *listingDecoder) entry(prev *tree.Entry) tree.Entry {
	flags := d.uvarint(entryAll)
	e := tree.Entry{Name: d.string()}
	e.Mode, e.UID, e.GID, e.Stamp.Dev = prev.Mode, prev.UID, prev.GID, prev.Stamp.Dev
	if flags&entrySame == 0 {
		e.Mode = uint32(d.uvarint(math.MaxUint32))
		e.UID = uint32(d.uvarint(math.MaxUint32))
		e.GID = uint32(d.uvarint(math.MaxUint32))
		e.Stamp.Dev = d.uvarint(math.MaxUint64)
	}
	e.Stamp.Ino = prev.Stamp.Ino + uint64(d.varint())
	e.Stamp.CTime = prev.Stamp.CTime + d.varint()
	e.MTime = prev.MTime + d.varint()
	e.MTimeNsec = int32(d.uvarint(999_999_999))
	e.Stamp.MTime = e.MTime*1e9 + int64(e.MTimeNsec)
	if flags&entrySize != 0 {
		e.Size = int64(d.uvarint(math.MaxInt64))
	}
	if flags&entryLinked != 0 {
		e.Inode = tree.Inode{Dev: e.Stamp.Dev, Ino: e.Stamp.Ino}
	}
	if flags&entryRdev != 0 {
		e.Rdev = d.uvarint(math.MaxUint64)
	}
	if flags&entryLink != 0 {
		e.Link = d.string()
	}
	if flags&entryXattrs != 0 {
		n := d.uvarint(uint64(len(d.rest)))
		e.Xattrs = make(map[string]string, min(n, 8))
		for range n {
			k := d.string()
			e.Xattrs[k] = d.string()
		}
	}
	return e
}

func (d *listingDecoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > limit {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *listingDecoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *listingDecoder) string() string {
	n := int(d.uvarint(uint64(len(d.rest))))
	if n > len(d.rest) {
		d.fail()
		return ""
	}
	at := len(d.text) - len(d.rest)
	d.rest = d.rest[n:]
	return d.text[at : at+n]
}

func (d *listingDecoder) fail() {
	d.err, d.rest = errListing, nil
}
