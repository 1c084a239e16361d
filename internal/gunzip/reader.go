package gunzip

import (
	"compress/flate"
	"hash/crc32"
	"io"
)

// Of the buffers: the bytes that a match may refer to, what is decoded at once beyond them, and
// what is read at once. A step of the decoder writes some bytes past what it decodes, and reads
// past what it takes: that many are kept free at the end of each.
const (
	history = 32 << 10
	outSize = history + 128<<10
	outRoom = 3 + 258 + 32
	inSize  = 64 << 10
	inRoom  = 32
	// stepRoom is how far from its position a step and what comes before it read: 8 bytes, three times.
	stepRoom = 24
)

type (
	input  [inSize + inRoom]byte
	output [outSize + outRoom]byte
)

// Reader decompresses gzip of any number of members.
type Reader struct {
	r    io.Reader
	in   []byte // in[pos:end] is read and not taken
	pos  int
	end  int
	past int64 // how many bytes were before in[0]
	last bool  // r is at its end; zeros follow in[end]
	// b has the next bits, the first one lowest, and n says how many; what is above is of in[pos].
	b uint64
	n uint

	out         []byte // out[given:have] is decoded and not returned
	given, have int
	base        int // where the member begins; history before is another one's

	crc  uint32
	size uint32
	block
	err error
}

// block is where the decoder stands in a member.
type block struct {
	inside bool // of a block
	final  bool // it is the last one
	stored int  // bytes left of one that is not compressed; -1: it is
	lit    [litSize]uint32
	dist   [distSize]uint32
}

// NewReader reads the first header. It reads ahead. An error of this or of Read is one of r, io.EOF
// if r has no bytes, io.ErrUnexpectedEOF, [gzip.ErrHeader], [gzip.ErrChecksum] or a
// [flate.CorruptInputError].
func NewReader(r io.Reader) (*Reader, error) {
	z := &Reader{r: r, in: make([]byte, inSize+inRoom), out: make([]byte, outSize+outRoom)}
	if err := z.header(); err != nil {
		return nil, err
	}
	return z, nil
}

// Read implements [io.Reader].
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for z.given == z.have {
		if z.err != nil {
			return 0, z.err
		}
		z.slide()
		z.err = z.decode()
	}
	n := copy(p, z.out[z.given:z.have])
	z.given += n
	return n, nil
}

// Close implements [io.Closer]. It does nothing.
func (z *Reader) Close() error { return nil }

// slide makes room for more, where all that was decoded is returned.
func (z *Reader) slide() {
	if by := z.have - history; by > 0 {
		copy(z.out, z.out[by:z.have])
		z.given, z.have, z.base = history, history, max(0, z.base-by)
	}
}

// decode decodes as much as there is room for, and no more than a member.
func (z *Reader) decode() error {
	from := z.have
	err := z.blocks()
	if z.pos-int(z.n>>3) > z.end {
		z.have = from // Some of it was made of the zeros after the end.
		return io.ErrUnexpectedEOF
	}
	z.crc = crc32.Update(z.crc, crc32.IEEETable, z.out[from:z.have])
	z.size += uint32(z.have - from) //nolint:gosec // as RFC 1952 wants it
	if err != io.EOF {              //nolint:errorlint // It is of blocks itself.
		return err
	}
	if err := z.trailer(); err != nil {
		return err
	}
	return z.header()
}

// blocks decodes until there is no more room. io.EOF: that was the last block.
func (z *Reader) blocks() (err error) {
	for err == nil && z.have < outSize {
		switch {
		case !z.inside && z.final:
			return io.EOF
		case !z.inside:
			err = z.begin()
		case z.stored >= 0:
			err = z.copyStored()
		default:
			err = z.symbols()
		}
	}
	return err
}

// copyStored copies bytes of a block that is not compressed. No bits are taken of in[pos].
func (z *Reader) copyStored() error {
	if z.stored == 0 {
		z.inside = false
		return nil
	}
	if z.pos >= z.end {
		if err := z.more(); err != nil {
			return err
		}
		if z.pos >= z.end {
			return io.ErrUnexpectedEOF
		}
	}
	n := copy(z.out[z.have:min(outSize, z.have+z.stored)], z.in[z.pos:z.end])
	z.pos, z.have, z.stored = z.pos+n, z.have+n, z.stored-n
	return nil
}

// more reads more of r, if there is any.
func (z *Reader) more() error {
	z.giveBack()
	if z.last {
		return nil
	}
	copy(z.in, z.in[z.pos:z.end])
	z.past, z.end, z.pos = z.past+int64(z.pos), z.end-z.pos, 0
	for tries := 0; z.end < 2*inRoom; tries++ {
		n, err := z.r.Read(z.in[z.end:inSize])
		if z.end += n; n > 0 {
			tries = 0
		}
		switch {
		case err == io.EOF:
			z.last = true
			clear(z.in[z.end : z.end+inRoom])
			return nil
		case err != nil:
			return err
		case tries == 100:
			return io.ErrNoProgress
		}
	}
	return nil
}

// giveBack gives the whole bytes in b back to in.
func (z *Reader) giveBack() {
	z.pos -= int(z.n >> 3)
	z.n &= 7
	z.b &= 1<<z.n - 1
}

// limit is the last position from which a step may begin.
func (z *Reader) limit() int {
	if z.last {
		return z.end + inRoom - stepRoom
	}
	return z.end - stepRoom
}

// ready makes sure that a step may begin.
func (z *Reader) ready() error {
	if z.pos <= z.limit() {
		return nil
	}
	if err := z.more(); err != nil {
		return err
	}
	if z.pos > z.limit() {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// refill makes sure that b has 56 bits. Those after the end are zeros.
func (z *Reader) refill() error {
	if err := z.ready(); err != nil {
		return err
	}
	z.b, z.n, z.pos = filled((*input)(z.in), z.b, z.n, z.pos)
	return nil
}

// take takes bits, of which b must have that many.
func (z *Reader) take(n uint) int {
	bits := z.b & (1<<n - 1)
	z.b >>= n
	z.n -= n
	return int(bits) //nolint:gosec // 16 bits at most
}

// corrupt is the error of what is not deflate.
func (z *Reader) corrupt() error {
	return flate.CorruptInputError(z.past + int64(z.pos) - int64(z.n>>3)) //nolint:gosec // 63 bits at most
}
