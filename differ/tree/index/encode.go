package index

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/chunked"
	"github.com/veneer-build/veneer/internal/varint"
)

// The stored form of an index, all integers little-endian:
//
//	magic      8 bytes, the last one is the version
//	DiffID    32 bytes
//	records    4 bytes: how many
//	digests    4 bytes: how many of them have one
//	rows       one zstd stream, see rowEncoder
//	digests   32 bytes each, in record order (outside of zstd: they do not compress)
//	SHA-256   of all of the above
const (
	indexMagic      = "VeneerX\x02"
	indexHeaderSize = len(indexMagic) + sha256.Size + 4 + 4
	indexMinSize    = indexHeaderSize + sha256.Size
)

// rowWindow is the zstd window, how far back rows refer to others. A larger one
// would only cost the reader memory, since similar rows are close together.
const rowWindow = 256 << 10

// Row flags, for fields that differ from what is usual. The two lowest bits are the
// kind.
const (
	rowKind   = 1<<2 - 1
	rowSparse = 1 << 2
	rowXattrs = 1 << 3
	rowDigest = 1 << 4
	rowLink   = 1 << 5
	rowNsec   = 1 << 6
	rowOwner  = 1 << 7 // UID or GID differ from the record before
	rowRdev   = 1 << 8
	rowSize   = 1 << 9
	rowAll    = 1<<10 - 1
)

// Encode writes the index, in large pieces. It does not close w. Equal indexes give
// equal bytes.
func (x *Index) Encode(w io.Writer) error {
	b, err := NewBuilder()
	if err != nil {
		return err
	}
	for i := range x.Records {
		if err := b.Add(&x.Records[i]); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	if err := b.Finish(x.DiffID); err != nil {
		return err
	}
	return b.Encode(w)
}

// Builder encodes an index entry by entry, so that the records need not be in
// memory. It takes about 40 bytes for each.
type Builder struct {
	enc     rowEncoder
	zw      *zstd.Encoder
	rows    bytes.Buffer
	digests chunked.Array[tree.Digest]
	budget  budget
	diffID  tree.Digest
}

// NewBuilder returns a builder of an index without entries.
func NewBuilder() (*Builder, error) {
	b := &Builder{}
	// One goroutine is enough for this little data.
	zw, err := zstd.NewWriter(&b.rows, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(rowWindow))
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	b.zw = zw
	return b, nil
}

// Add adds the layer's next entry. It does not keep r.
func (b *Builder) Add(r *Record) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	if err := b.budget.add(r); err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	if r.Digest.Known() {
		b.digests.Add(r.Digest)
	}
	b.enc.row(r)
	if len(b.enc.buf) < 1<<18 {
		return nil
	}
	return b.flush()
}

func (b *Builder) flush() error {
	if _, err := b.zw.Write(b.enc.buf); err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	b.enc.buf = b.enc.buf[:0]
	return nil
}

// Finish ends the index. It needs the layer's diff ID.
func (b *Builder) Finish(diffID tree.Digest) error {
	b.diffID = diffID
	return errors.Join(b.flush(), b.Close())
}

// Close releases the resources of an unfinished builder.
func (b *Builder) Close() error { return b.zw.Close() }

// Encode writes the finished index, in large pieces. It may be called several
// times.
func (b *Builder) Encode(w io.Writer) error {
	bw := bufio.NewWriterSize(w, 1<<20)
	sum := sha256.New()
	out := io.MultiWriter(bw, sum)
	head := append([]byte(indexMagic), b.diffID[:]...)
	head = binary.LittleEndian.AppendUint32(head, uint32(b.budget.records))
	head = binary.LittleEndian.AppendUint32(head, uint32(b.digests.Len()))
	// A bufio.Writer keeps its first error for Flush, and a hash has none.
	_, _ = out.Write(head)
	_, _ = out.Write(b.rows.Bytes())
	for i := range b.digests.Len() {
		_, _ = out.Write(b.digests.At(i)[:])
	}
	_, _ = bw.Write(sum.Sum(nil))
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	return nil
}

// rowEncoder appends records. A row is flags, the length of the prefix shared with
// the path before, the rest of the path, mode, times and offset as differences, and
// then the fields that the flags name.
type rowEncoder struct {
	buf  []byte
	prev rowState
}

// rowState has the values that a row is relative to.
type rowState struct {
	path     string
	uid, gid uint32
	mtime    int64
	offset   int64
}

func (s *rowState) next(r *Record) {
	// The next content is usually behind this one and one header block.
	*s = rowState{r.Path, r.UID, r.GID, r.MTime, r.Offset + roundBlock(r.Size) + blockSize}
}

func (e *rowEncoder) row(r *Record) {
	flags := uint64(r.Kind) & rowKind
	set := func(cond bool, flag uint64) {
		if cond {
			flags |= flag
		}
	}
	set(r.Sparse, rowSparse)
	set(len(r.Xattrs) > 0, rowXattrs)
	set(r.Digest.Known(), rowDigest)
	set(r.Link != "", rowLink)
	set(r.MTimeNsec != 0, rowNsec)
	set(r.UID != e.prev.uid || r.GID != e.prev.gid, rowOwner)
	set(r.Rdev != 0, rowRdev)
	set(r.Size != 0, rowSize)
	b := binary.AppendUvarint(e.buf, flags)
	shared := sharedPrefix(e.prev.path, r.Path)
	b = binary.AppendUvarint(b, uint64(shared))
	b = varint.AppendString(b, r.Path[shared:])
	b = binary.AppendUvarint(b, uint64(r.Mode))
	b = binary.AppendVarint(b, r.MTime-e.prev.mtime)
	b = binary.AppendVarint(b, r.Offset-e.prev.offset)
	if flags&rowOwner != 0 {
		b = binary.AppendUvarint(b, uint64(r.UID))
		b = binary.AppendUvarint(b, uint64(r.GID))
	}
	if flags&rowSize != 0 {
		b = binary.AppendUvarint(b, uint64(r.Size))
	}
	if flags&rowNsec != 0 {
		b = binary.AppendUvarint(b, uint64(r.MTimeNsec))
	}
	if flags&rowRdev != 0 {
		b = binary.AppendUvarint(b, r.Rdev)
	}
	if flags&rowLink != 0 {
		b = varint.AppendString(b, r.Link)
	}
	if flags&rowXattrs != 0 {
		b = binary.AppendUvarint(b, uint64(len(r.Xattrs)))
		for _, k := range slices.Sorted(maps.Keys(r.Xattrs)) {
			b = varint.AppendString(varint.AppendString(b, k), r.Xattrs[k])
		}
	}
	e.buf = b
	e.prev.next(r)
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
