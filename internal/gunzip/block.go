package gunzip

import (
	"encoding/binary"
	"io"
)

// The most symbols that a block may have codes for.
const (
	maxLits  = 286
	maxDists = 30
)

var fixedLit, fixedDist = fixedTables()

// fixedTables are those of the fixed codes, see RFC 1951, 3.2.6.
func fixedTables() (lit [litSize]uint32, dist [distSize]uint32) {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	build(lit[:], litBits, lengths[:], litSymbols[:])
	for i := range 32 {
		lengths[i] = 5
	}
	build(dist[:], distBits, lengths[:32], distSymbols[:])
	return lit, dist
}

// begin reads the header of a block, see RFC 1951, 3.2.3.
func (z *Reader) begin() error {
	if err := z.refill(); err != nil {
		return err
	}
	z.final, z.inside, z.stored = z.take(1) == 1, true, -1
	switch z.take(2) {
	case 0:
		return z.beginStored()
	case 1:
		z.lit, z.dist = fixedLit, fixedDist
		return nil
	case 2:
		return z.beginDynamic()
	}
	return z.corrupt()
}

// beginStored reads the size of a block that is not compressed.
func (z *Reader) beginStored() error {
	z.giveBack()
	z.b, z.n = 0, 0
	if z.pos+4 > z.end {
		if err := z.more(); err != nil {
			return err
		}
		if z.pos+4 > z.end {
			return io.ErrUnexpectedEOF
		}
	}
	size, not := binary.LittleEndian.Uint16(z.in[z.pos:]), binary.LittleEndian.Uint16(z.in[z.pos+2:])
	if size != ^not {
		return z.corrupt()
	}
	z.pos += 4
	z.stored = int(size)
	return nil
}

// precOrder is the order in which the code of the codes is told, see RFC 1951, 3.2.7.
var precOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// beginDynamic reads the codes of a block.
func (z *Reader) beginDynamic() error {
	lits, dists, precs := 257+z.take(5), 1+z.take(5), 4+z.take(4)
	if lits > maxLits || dists > maxDists {
		return z.corrupt()
	}
	var of [19]uint8
	for _, symbol := range precOrder[:precs] {
		if err := z.refill(); err != nil {
			return err
		}
		of[symbol] = uint8(z.take(3)) //nolint:gosec // 3 bits
	}
	var prec [1 << precBits]uint32
	if !build(prec[:], precBits, of[:], precSymbols[:]) {
		return z.corrupt()
	}
	var lengths [maxLits + maxDists]uint8
	for i := 0; i < lits+dists; {
		n, length, err := z.codeLengths(&prec, lengths[:i])
		if err != nil {
			return err
		}
		if i+n > lits+dists {
			return z.corrupt()
		}
		for ; n > 0; n-- {
			lengths[i] = length
			i++
		}
	}
	if !build(z.lit[:], litBits, lengths[:lits], litSymbols[:]) || !build(z.dist[:], distBits, lengths[lits:lits+dists], distSymbols[:]) {
		return z.corrupt()
	}
	return nil
}

// codeLengths reads how long the next codes are, after those that were read: n codes of a length.
func (z *Reader) codeLengths(prec *[1 << precBits]uint32, read []uint8) (n int, length uint8, err error) {
	if err := z.refill(); err != nil {
		return 0, 0, err
	}
	e := prec[z.b&(1<<precBits-1)]
	if e&entryInvalid != 0 {
		return 0, 0, z.corrupt()
	}
	z.take(taken(e))
	switch symbol := value(e); symbol {
	case 16:
		if len(read) == 0 {
			return 0, 0, z.corrupt()
		}
		return 3 + z.take(2), read[len(read)-1], nil
	case 17:
		return 3 + z.take(3), 0, nil
	case 18:
		return 11 + z.take(7), 0, nil
	default:
		return 1, uint8(symbol), nil //nolint:gosec // below 16
	}
}

// symbols decodes a block as far as it, what was read, and the room go: a symbol at least.
func (z *Reader) symbols() error {
	if err := z.ready(); err != nil {
		return err
	}
	in, out, lit, dist := (*input)(z.in), (*output)(z.out), &z.lit, &z.dist
	o, limit, base := z.have, z.limit(), z.base
	b, n, pos := filled(in, z.b, z.n, z.pos)
	e := lit[b&(1<<litBits-1)]
	var stop uint32
	for {
		if e >= entryLiteral {
			// Three of the first level take 33 of the 56 bits.
			for range 3 {
				out[o] = byte(e >> 16)
				b, n, o = b>>(e&63), n-taken(e), o+1
				if e = lit[b&(1<<litBits-1)]; e < entryLiteral {
					break
				}
			}
			b, n, pos = filled(in, b, n, pos)
		}
		if e&entryInvalid != 0 {
			e, b, n = second(lit[:], e, b, n)
		}
		value, extra := e>>16&0x7fff, uint32(b&(1<<(e&63)-1)>>codeBits(e))
		b, n = b>>(e&63), n-taken(e)
		if stop = e & entryInvalid; stop != 0 {
			break
		}
		if e >= entryLiteral {
			out[o] = byte(value)
			o++
			b, n, pos = filled(in, b, n, pos)
			e = lit[b&(1<<litBits-1)]
		} else {
			d := dist[b&(1<<distBits-1)]
			if d&entryInvalid != 0 {
				d, b, n = second(dist[:], d, b, n)
			}
			length, far := int(value+extra), int(d>>16&0x7fff+uint32(b&(1<<(d&63)-1)>>codeBits(d)))
			b, n = b>>(d&63), n-taken(d)
			if d&entryInvalid != 0 || far > o-base {
				stop = entryInvalid
				break
			}
			// The next entry is looked up before the bytes are copied: the processor does both at once.
			b, n, pos = filled(in, b, n, pos)
			e = lit[b&(1<<litBits-1)]
			o = repeat(out, o, far, length)
		}
		if pos > limit || o >= outSize {
			break
		}
	}
	z.pos, z.b, z.n, z.have = pos, b, n, o
	z.inside = stop != entryEnd
	if stop == entryInvalid {
		return z.corrupt()
	}
	return nil
}

// filled returns b and n with 56 bits or more, and the position after what it took for that.
func filled(in *input, b uint64, n uint, pos int) (uint64, uint, int) {
	return b | binary.LittleEndian.Uint64(in[pos:])<<(n&63), n | 56, pos + int((63-n)>>3)
}

// second follows an entry to the second level of its table, if it leads there.
func second(table []uint32, e uint32, b uint64, n uint) (uint32, uint64, uint) {
	if e&entryInvalid != entrySub {
		return e, b, n
	}
	b, n = b>>(e&63), n-taken(e)
	return table[value(e)+uint32(b&(1<<codeBits(e)-1))], b, n
}

// repeat writes a match at o, and up to 32 bytes after it, and returns its end.
func repeat(out *output, o, far, length int) int {
	end, from := o+length, o-far
	switch {
	case far >= 16 && length <= 32:
		*(*[16]byte)(out[o:]) = [16]byte(out[from:])
		*(*[16]byte)(out[o+16:]) = [16]byte(out[from+16:])
	case far >= 8 && far < length:
		for o < end {
			binary.LittleEndian.PutUint64(out[o:], binary.LittleEndian.Uint64(out[from:]))
			o, from = o+8, from+8
		}
	case far >= 8:
		copy(out[o:end], out[from:])
	case far == 1:
		same := uint64(out[from]) * 0x0101010101010101
		for ; o < end; o += 8 {
			binary.LittleEndian.PutUint64(out[o:], same)
		}
	default:
		for ; o < end; o++ {
			out[o] = out[from]
			from++
		}
	}
	return end
}
