package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/ctxio"
	"github.com/veneer-build/veneer/internal/varint"
)

// ErrInvalid is wrapped by every error about a stored index that is damaged,
// incomplete, or of another version. The file can be deleted, and the layer scanned
// again.
var ErrInvalid = errors.New("not a valid layer index")

const (
	// minRow is the shortest encoding of a record: seven bytes.
	minRow = 7
	// maxIndexSize is the greatest size of a stored index that is read: MaxRecords
	// with digests, and their text as if zstd could not compress it.
	maxIndexSize = MaxText + MaxRecords*(sha256.Size+32)
	// maxRowWindow is the greatest zstd window for reading rows. It is somewhat
	// larger than rowWindow.
	maxRowWindow = 4 * rowWindow
)

// Decode reads what [Index.Encode] wrote, to the end of r. It verifies the checksum
// before it interprets anything. All errors about the bytes wrap [ErrInvalid].
//
// The layers of an image share a budget. If it is exhausted, the error also wraps
// [ErrLimit]. Without a budget (nil) only the limits of one layer hold. If ctx ends,
// the error is ctx's.
func Decode(ctx context.Context, r io.Reader, b *Budget) (*Index, error) {
	body, err := readStored(ctx, r)
	if err != nil {
		return nil, err
	}
	x, err := decodeBody(ctx, body, b)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return x, nil
}

// readStored reads a stored index to its end, verifies the checksum, and returns what
// stands before it.
func readStored(ctx context.Context, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(ctxio.Reader(ctx, r), maxIndexSize+1))
	if err != nil {
		return nil, fmt.Errorf("read layer index: %w", err)
	}
	if len(data) < indexMinSize || len(data) > maxIndexSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrInvalid, len(data))
	}
	if string(data[:len(indexMagic)]) != indexMagic {
		return nil, fmt.Errorf("%w: magic %q is not %q", ErrInvalid, data[:len(indexMagic)], indexMagic)
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return nil, fmt.Errorf("%w: checksum mismatch", ErrInvalid)
	}
	return body, nil
}

// decodeBody decodes an index whose checksum is right. It may still be hostile, so no
// more is allocated than the input's length can account for.
func decodeBody(ctx context.Context, body []byte, b *Budget) (*Index, error) {
	p, err := parts(body)
	if err != nil {
		return nil, err
	}
	// zstd usually compresses rows to a quarter. append grows the list if they are
	// more. Without records there is no list, as in an index that was scanned.
	x := &Index{DiffID: p.DiffID, Records: slices.Grow([]Record(nil), min(p.records, len(p.rows)*4/minRow))}
	err = p.read(ctx, &budget{shared: b}, func(r *Record, _ *tree.Digest) error {
		x.Records = append(x.Records, *r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return x, nil
}

// rowDecoder reads what rowEncoder wrote.
type rowDecoder struct {
	varint.Reader
	sums   []byte
	sum    *tree.Digest // of the record that was read last
	prev   rowState
	text   textArena
	budget *budget
}

func (d *rowDecoder) all(records int, fn func(r *Record, sum *tree.Digest) error) error {
	var r Record
	for i := range records {
		r = Record{}
		d.row(&r)
		if d.Err() == nil {
			d.Fail(r.check())
		}
		if d.Err() == nil {
			d.Fail(d.budget.add(&r))
		}
		if d.Err() != nil {
			return fmt.Errorf("record %d: %w", i, d.Err())
		}
		if err := fn(&r, d.sum); err != nil {
			return err
		}
	}
	if len(d.sums) != 0 {
		return fmt.Errorf("%d bytes of digests are nobody's", len(d.sums))
	}
	if d.More() {
		return errors.New("data after the last record")
	}
	return d.Err()
}

func (d *rowDecoder) row(r *Record) {
	flags := d.Uvarint(rowAll)
	r.Kind = RecordKind(flags & rowKind)
	r.Sparse = flags&rowSparse != 0
	shared := int(d.Uvarint(uint64(len(d.prev.path))))
	r.Path = d.path(d.prev.path[:shared])
	r.Mode = uint32(d.Uvarint(math.MaxUint32))
	r.MTime = d.prev.mtime + d.Varint()
	r.Offset = d.prev.offset + d.Varint()
	r.UID, r.GID = d.prev.uid, d.prev.gid
	if flags&rowOwner != 0 {
		r.UID = uint32(d.Uvarint(math.MaxUint32))
		r.GID = uint32(d.Uvarint(math.MaxUint32))
	}
	if flags&rowSize != 0 {
		r.Size = int64(d.Uvarint(math.MaxInt64))
	}
	if flags&rowNsec != 0 {
		r.MTimeNsec = int32(d.Uvarint(math.MaxInt32))
	}
	if flags&rowRdev != 0 {
		r.Rdev = d.Uvarint(math.MaxUint64)
	}
	if flags&rowLink != 0 {
		r.Link = d.text.add(d.AppendBytes(nil, tree.MaxPath))
	}
	if flags&rowXattrs != 0 {
		d.xattrs(r)
	}
	d.sum = nil
	if flags&rowDigest != 0 {
		if len(d.sums) < sha256.Size {
			d.Fail(errors.New("digest missing"))
			return
		}
		d.sum, d.sums = (*tree.Digest)(d.sums), d.sums[sha256.Size:]
		r.Digest = *d.sum
		if !r.Digest.Known() {
			d.Fail(errors.New("digest is zero"))
		}
	}
	d.prev.next(r)
}

// path reads the rest of a path after the prefix.
func (d *rowDecoder) path(prefix string) string {
	var buf [tree.MaxPath]byte
	return d.text.add(d.AppendBytes(append(buf[:0], prefix...), tree.MaxPath))
}

func (d *rowDecoder) xattrs(r *Record) {
	n := d.Uvarint(MaxText)
	if d.Err() != nil {
		return
	}
	r.Xattrs = make(map[string]string, min(n, 8))
	for range n {
		k := string(d.AppendBytes(nil, maxXattr))
		v := string(d.AppendBytes(nil, maxXattr))
		if d.Err() != nil {
			return
		}
		if _, dup := r.Xattrs[k]; dup {
			d.Fail(fmt.Errorf("xattr %q twice", k))
			return
		}
		r.Xattrs[k] = v
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
