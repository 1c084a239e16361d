package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/ctxio"
	"github.com/veneer-build/veneer/internal/varint"
)

// Packed is an index in its stored form. An entry takes some 45 bytes in it, and 190
// in an [Index]. Whoever reads it gets one record after the other. It never changes.
type Packed struct {
	// DiffID is the SHA-256 of the whole uncompressed tar.
	DiffID tree.Digest

	body       []byte // what [Index.Encode] writes, without the checksum
	rows, sums []byte // its parts
	records    int
	// markers: there may be opaque markers.
	markers bool
}

// ScanPacked is [ScanLayer] for a packed index: the records are never in memory
// together.
func ScanPacked(ctx context.Context, r io.Reader, b *Budget) (*Packed, error) {
	w, err := NewBuilder()
	if err != nil {
		return nil, fmt.Errorf("scan layer: %w", err)
	}
	markers := false
	x, _, err := scan(ctx, r, scanOptions{diffID: true, shared: b, sink: func(r *Record) error {
		markers = markers || isMarker(r.Path)
		return w.Add(r)
	}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("scan layer: %w", err), w.Close())
	}
	if err := w.Finish(x.DiffID); err != nil {
		return nil, fmt.Errorf("scan layer: %w", err)
	}
	var data bytes.Buffer
	data.Grow(indexHeaderSize + w.rows.Len() + w.digests.Len()*sha256.Size + sha256.Size)
	if err := w.Encode(&data); err != nil {
		return nil, fmt.Errorf("scan layer: %w", err)
	}
	p, err := parts(data.Bytes()[:data.Len()-sha256.Size])
	if err != nil {
		return nil, fmt.Errorf("scan layer: %w", err)
	}
	p.markers = markers
	return p, nil
}

// DecodePacked is [Decode] for a packed index. It reads all records once, to check
// them and to count them for the budget.
func DecodePacked(ctx context.Context, r io.Reader, b *Budget) (*Packed, error) {
	body, err := readStored(ctx, r)
	if err != nil {
		return nil, err
	}
	p, err := parts(body)
	if err == nil {
		err = p.read(ctx, &budget{shared: b}, func(r *Record, _ *tree.Digest) error {
			p.markers = p.markers || isMarker(r.Path)
			return nil
		})
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return p, nil
}

// Encode writes what [Index.Encode] would.
func (p *Packed) Encode(w io.Writer) error {
	sum := sha256.Sum256(p.body)
	for _, part := range [][]byte{p.body, sum[:]} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("encode index: %w", err)
		}
	}
	return nil
}

// Len is how many records there are.
func (p *Packed) Len() int { return p.records }

// Layer is the layer's diff ID.
func (p *Packed) Layer() tree.Digest { return p.DiffID }

// Each calls fn for each record, in the order of the tar, until it returns an error.
// The record is valid until fn returns; its strings and attributes stay.
func (p *Packed) Each(ctx context.Context, fn func(*Record) error) error {
	return p.read(ctx, &budget{}, func(r *Record, _ *tree.Digest) error { return fn(r) })
}

// parts finds the parts of a stored index whose checksum is right. It may still be
// hostile.
func parts(body []byte) (*Packed, error) {
	p := &Packed{body: body}
	rest := body[len(indexMagic):]
	rest = rest[copy(p.DiffID[:], rest):]
	records, digests := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
	rest = rest[8:]
	sums := int64(digests) * sha256.Size
	if records > MaxRecords || digests > records || sums > int64(len(rest)) {
		return nil, fmt.Errorf("%d records, %d digests in %d bytes", records, digests, len(rest))
	}
	split := len(rest) - int(sums)
	p.records, p.rows, p.sums = int(records), rest[:split], rest[split:]
	return p, nil
}

// read decodes the records, one after the other into the same place. sum is the
// digest where it is stored; nil: there is none. An error of fn is returned as it is.
func (p *Packed) read(ctx context.Context, b *budget, fn func(r *Record, sum *tree.Digest) error) error {
	zr, err := zstd.NewReader(bytes.NewReader(p.rows), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxRowWindow))
	if err != nil {
		return err
	}
	defer zr.Close()
	d := rowDecoder{Reader: varint.NewReader(ctxio.Reader(ctx, zr)), sums: p.sums, budget: b}
	return d.all(p.records, fn)
}

func isMarker(path string) bool { return strings.HasSuffix(path, tree.OpaqueMarker) }

// Entry is what a watcher of layers is given of a record: all but its path and where
// its content is.
type Entry struct {
	*Common
	// Size is the content's length, and MTime the time in seconds since 1970.
	Size, MTime int64
	sum         *tree.Digest
}

// Common is what most entries of a layer have in common with others, so that these
// share it. It must not be written.
type Common struct {
	Mode, UID, GID uint32
	Rdev           uint64
	Link           string
	Xattrs         map[string]string
}

// Digest is the content's digest; zero for all but regular files.
func (e *Entry) Digest() tree.Digest {
	if e.sum == nil {
		return tree.Digest{}
	}
	return *e.sum
}

// packer makes entries of records.
type packer struct {
	sum     *tree.Digest // of the record that is applied
	slab    []Entry
	commons map[[3]uint32]*Common
	names   textArena
}

func (p *packer) entry(r *Record) *Entry {
	if len(p.slab) == 0 {
		p.slab = make([]Entry, 256)
	}
	e := &p.slab[0]
	p.slab = p.slab[1:]
	*e = Entry{Common: p.common(r), Size: r.Size, MTime: r.MTime, sum: p.sum}
	return e
}

func (p *packer) common(r *Record) *Common {
	key := [3]uint32{r.Mode, r.UID, r.GID}
	plain := r.Link == "" && r.Rdev == 0 && len(r.Xattrs) == 0
	if c := p.commons[key]; c != nil && plain {
		return c
	}
	c := &Common{Mode: r.Mode, UID: r.UID, GID: r.GID, Rdev: r.Rdev, Link: strings.Clone(r.Link), Xattrs: r.Xattrs}
	if plain {
		p.commons[key] = c
	}
	return c
}
