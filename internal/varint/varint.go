package varint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Reader reads what binary.AppendUvarint and AppendVarint wrote, and
// strings after their lengths. The first error sticks, so that many are read
// without a check after each.
type Reader struct {
	r    io.Reader
	buf  []byte
	rest []byte // of buf, not yet used
	eof  bool
	err  error
}

// NewReader reads from r, and ahead of what it returns.
func NewReader(r io.Reader) Reader { return Reader{r: r} }

// Of returns a reader of what is in memory.
func Of(data []byte) Reader { return Reader{rest: data, eof: true} }

// Left is how many bytes a reader of what is in memory has still to read.
func (d *Reader) Left() int { return len(d.rest) }

// Part reads a length and as many bytes. It is for readers of what is in memory:
// the bytes are not copied.
func (d *Reader) Part() []byte {
	n := d.Uvarint(math.MaxUint64)
	if n > uint64(len(d.rest)) {
		d.Fail(io.ErrUnexpectedEOF)
	}
	if d.err != nil {
		return nil
	}
	part := d.rest[:n:n]
	d.rest = d.rest[n:]
	return part
}

// AppendBytes reads a length and as many bytes, appended to buf, which all in all
// may be limit.
func (d *Reader) AppendBytes(buf []byte, limit int) []byte {
	n := int(d.Uvarint(uint64(limit - len(buf))))
	for n > 0 && d.err == nil {
		if len(d.rest) == 0 && !d.refill() {
			d.Fail(io.ErrUnexpectedEOF)
			return nil
		}
		// No more than what is there, whatever the length says.
		k := min(n, len(d.rest))
		buf = append(buf, d.rest[:k]...)
		d.rest = d.rest[k:]
		n -= k
	}
	return buf
}

// Uvarint reads a number that is at most limit.
func (d *Reader) Uvarint(limit uint64) uint64 {
	if len(d.rest) < binary.MaxVarintLen64 {
		d.refill()
	}
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	switch {
	case n == 0:
		d.Fail(io.ErrUnexpectedEOF)
		return 0
	case n < 0 || v > limit:
		d.Fail(fmt.Errorf("number is more than %d", limit))
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// refill reads more behind what is left, and reports whether anything is there.
func (d *Reader) refill() bool {
	if d.err != nil || d.eof {
		return len(d.rest) > 0
	}
	if d.buf == nil {
		d.buf = make([]byte, 64<<10)
	}
	n := copy(d.buf, d.rest)
	for n < binary.MaxVarintLen64 && !d.eof && d.err == nil {
		k, err := d.r.Read(d.buf[n:])
		n += k
		if errors.Is(err, io.EOF) {
			d.eof = true
		} else if err != nil {
			d.Fail(err)
		}
	}
	d.rest = d.buf[:n]
	return len(d.rest) > 0
}

// Varint reads a signed number in zigzag form, as encoding/binary has it.
func (d *Reader) Varint() int64 {
	u := d.Uvarint(math.MaxUint64)
	return int64(u>>1) ^ -int64(u&1)
}

// More reports whether anything is left.
func (d *Reader) More() bool { return len(d.rest) > 0 || d.refill() }

// Err is the first error.
func (d *Reader) Err() error { return d.err }

// Fail makes err the reader's error, unless it has one, or err is nil.
func (d *Reader) Fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Full reads as many bytes as p has.
func (d *Reader) Full(p []byte) {
	for len(p) > 0 && d.err == nil {
		if len(d.rest) == 0 && !d.refill() {
			d.Fail(io.ErrUnexpectedEOF)
			return
		}
		n := copy(p, d.rest)
		p, d.rest = p[n:], d.rest[n:]
	}
}

// AppendString appends a string, preceded by its length.
func AppendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
