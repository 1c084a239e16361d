package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// numberReader reads what binary.AppendUvarint and AppendVarint wrote, and
// strings after their lengths. The first error sticks, so that many are read
// without a check after each.
type numberReader struct {
	r    io.Reader
	buf  []byte
	rest []byte // of buf, not yet used
	eof  bool
	err  error
}

// newNumberReader reads from r, and ahead of what it returns.
func newNumberReader(r io.Reader) numberReader { return numberReader{r: r} }

// bytes reads a length and as many bytes, appended to buf, which all in all
// may be limit.
func (d *numberReader) bytes(buf []byte, limit int) []byte {
	n := int(d.uvarint(uint64(limit - len(buf))))
	for n > 0 && d.err == nil {
		if len(d.rest) == 0 && !d.refill() {
			d.fail(io.ErrUnexpectedEOF)
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

// uvarint reads a number that is at most limit.
func (d *numberReader) uvarint(limit uint64) uint64 {
	if len(d.rest) < binary.MaxVarintLen64 {
		d.refill()
	}
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	switch {
	case n == 0:
		d.fail(io.ErrUnexpectedEOF)
		return 0
	case n < 0 || v > limit:
		d.fail(fmt.Errorf("number is more than %d", limit))
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// refill reads more behind what is left, and reports whether anything is there.
func (d *numberReader) refill() bool {
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
			d.fail(err)
		}
	}
	d.rest = d.buf[:n]
	return len(d.rest) > 0
}

// varint reads a signed number in zigzag form, as encoding/binary has it.
func (d *numberReader) varint() int64 {
	u := d.uvarint(math.MaxUint64)
	return int64(u>>1) ^ -int64(u&1)
}

// more reports whether anything is left.
func (d *numberReader) more() bool { return len(d.rest) > 0 || d.refill() }

// failure is the first error.
func (d *numberReader) failure() error { return d.err }

// fail makes err the reader's error, unless it has one, or err is nil.
func (d *numberReader) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// full reads as many bytes as p has.
func (d *numberReader) full(p []byte) {
	for len(p) > 0 && d.err == nil {
		if len(d.rest) == 0 && !d.refill() {
			d.fail(io.ErrUnexpectedEOF)
			return
		}
		n := copy(p, d.rest)
		p, d.rest = p[n:], d.rest[n:]
	}
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
