package gunzip

import (
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// The flags of a header.
const (
	flagHeaderSum = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

// maxName is how long a name or comment may be with its zero, as in compress/gzip.
const maxName = 512

// header reads a member's header. io.EOF: there is none.
func (z *Reader) header() error {
	z.giveBack()
	z.b, z.n = 0, 0 // What is left of a byte is padding.
	var h headerBytes
	fixed, err := h.take(z, 10)
	if err != nil {
		return err
	}
	if fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != 8 {
		return gzip.ErrHeader
	}
	if err := h.rest(z, fixed[3]); err != nil {
		if err == io.EOF { //nolint:errorlint // It is of take.
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	z.crc, z.size, z.base = 0, 0, z.have
	z.inside, z.final = false, false
	return nil
}

// headerBytes reads and sums a header.
type headerBytes struct{ sum uint32 }

// take reads bytes, of which there are less than [inRoom]. io.EOF: there are none.
func (h *headerBytes) take(z *Reader, n int) ([]byte, error) {
	if z.pos+n > z.end {
		if err := z.more(); err != nil {
			return nil, err
		}
	}
	switch {
	case z.pos >= z.end:
		return nil, io.EOF
	case z.pos+n > z.end:
		return nil, io.ErrUnexpectedEOF
	}
	b := z.in[z.pos : z.pos+n]
	z.pos += n
	h.sum = crc32.Update(h.sum, crc32.IEEETable, b)
	return b, nil
}

// rest reads what a header has by its flags. All of it is left out.
func (h *headerBytes) rest(z *Reader, flags byte) error {
	if flags&flagExtra != 0 {
		size, err := h.take(z, 2)
		if err != nil {
			return err
		}
		for n := binary.LittleEndian.Uint16(size); n > 0; n-- {
			if _, err := h.take(z, 1); err != nil {
				return err
			}
		}
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag != 0 {
			if err := h.text(z); err != nil {
				return err
			}
		}
	}
	if flags&flagHeaderSum != 0 {
		want := uint16(h.sum)
		sum, err := h.take(z, 2)
		if err != nil {
			return err
		}
		if binary.LittleEndian.Uint16(sum) != want {
			return gzip.ErrHeader
		}
	}
	return nil
}

// text reads up to a zero.
func (h *headerBytes) text(z *Reader) error {
	for range maxName {
		b, err := h.take(z, 1)
		if err != nil || b[0] == 0 {
			return err
		}
	}
	return gzip.ErrHeader
}

// trailer checks a member's sum and size.
func (z *Reader) trailer() error {
	z.giveBack()
	z.b, z.n = 0, 0
	sums, err := (&headerBytes{}).take(z, 8)
	switch {
	case err == io.EOF: //nolint:errorlint // It is of take.
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case binary.LittleEndian.Uint32(sums) != z.crc || binary.LittleEndian.Uint32(sums[4:]) != z.size:
		return gzip.ErrChecksum
	}
	return nil
}
