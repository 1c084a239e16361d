package gunzip

import "math/bits"

// The sizes of the tables: bits of the first level, and the entries that a complete code needs
// with its second level at most (zlib's examples/enough.c: 288 and 32 symbols, codes of up to 15 bits).
const (
	maxBits  = 15
	litBits  = 11
	litSize  = 2342
	distBits = 8
	distSize = 402
	precBits = 7
)

// An entry tells what the next bits mean.
//
//	bits 0 to 5    how many bits it takes, with the extra ones
//	bit  6         it leads to a table of the second level
//	bit  7         end of block; with bit 6: no such code
//	bits 8 to 15   how many bits its code has; of a second level: its index has
//	bits 16 to 30  literal, base of a length or a distance, or where the second level begins
//	bit  31        literal
const (
	entrySub     = 1 << 6
	entryEnd     = 1 << 7
	entryInvalid = entrySub | entryEnd
	entryLiteral = 1 << 31
)

// taken is how many bits an entry takes, value what its bits 16 to 30 say, and codeBits its bits 8 to 15.
func taken(e uint32) uint           { return uint(e & 63) }
func value(e uint32) uint32         { return e >> 16 & 0x7fff }
func codeBits(e uint32) uint        { return uint(e >> 8 & 63) }
func ofBase(base, extra int) uint32 { return uint32(base)<<16 | uint32(extra) }

// litSymbols, distSymbols and precSymbols are entries of codes of no bits, see RFC 1951, 3.2.5.
var (
	litSymbols  = makeLitSymbols()
	distSymbols = makeDistSymbols()
	precSymbols = makePrecSymbols()
)

func makeLitSymbols() (s [288]uint32) {
	for i := range 256 {
		s[i] = entryLiteral | uint32(i)<<16
	}
	s[256] = entryEnd
	for i, base := 257, 3; i < 285; i++ {
		extra := max(0, (i-261)/4)
		s[i] = ofBase(base, extra)
		base += 1 << extra
	}
	s[285] = ofBase(258, 0)
	s[286], s[287] = entryInvalid, entryInvalid
	return s
}

func makeDistSymbols() (s [32]uint32) {
	for i, base := 0, 1; i < 30; i++ {
		extra := max(0, i/2-1)
		s[i] = ofBase(base, extra)
		base += 1 << extra
	}
	s[30], s[31] = entryInvalid, entryInvalid
	return s
}

func makePrecSymbols() (s [19]uint32) {
	for i := range s {
		s[i] = uint32(i) << 16
	}
	return s
}

// build makes the table of a canonical code, of each symbol's number of bits. It reports whether
// that is a code: no symbols, one of 1 bit, or a complete one.
func build(table []uint32, tableBits uint, lengths []uint8, symbols []uint32) bool {
	var left [maxBits + 1]int // symbols of that many bits that have no entry yet
	for _, n := range lengths {
		left[n]++
	}
	var next [maxBits + 1]uint32 // code
	var at [maxBits + 2]int      // where those of that many bits begin in the order of their codes
	code := uint32(0)
	for n := 1; n <= maxBits; n++ {
		code <<= 1
		next[n] = code
		code += uint32(left[n])
		at[n+1] = at[n] + left[n]
	}
	for i := range table[:1<<tableBits] {
		table[i] = entryInvalid
	}
	if all := at[maxBits+1]; code != 1<<maxBits {
		if all == 0 {
			return true
		}
		if all != 1 || left[1] != 1 {
			return false
		}
	}
	var sorted [288]uint16
	for symbol, n := range lengths {
		if n > 0 {
			sorted[at[n]] = uint16(symbol)
			at[n]++
		}
	}
	free := 1 << tableBits
	for _, symbol := range sorted[:at[maxBits]] {
		n := uint(lengths[symbol])
		reversed := uint(bits.Reverse16(uint16(next[n]))) >> (16 - n)
		next[n]++
		if n > tableBits {
			first := reversed & (1<<tableBits - 1)
			if table[first] == entryInvalid {
				sub := subBits(&left, n, tableBits)
				table[first] = uint32(free)<<16 | uint32(sub)<<8 | entrySub | uint32(tableBits)
				free += 1 << sub
			}
			from, of := value(table[first]), codeBits(table[first])
			fill(table[from:from+1<<of], n-tableBits, reversed>>tableBits, symbols[symbol])
		} else {
			fill(table[:1<<tableBits], n, reversed, symbols[symbol])
		}
		left[n]--
	}
	return true
}

// subBits is how many bits the second level needs that begins with a code of n bits: the codes
// that follow fill it.
func subBits(left *[maxBits + 1]int, n, tableBits uint) uint {
	sub := n - tableBits
	for used := left[n]; used < 1<<sub; {
		sub++
		used = used<<1 + left[tableBits+sub]
	}
	return sub
}

// fill sets the entries of a table that begin with a code.
func fill(table []uint32, n, code uint, entry uint32) {
	entry += uint32(n)<<8 | uint32(n)
	for i := code; i < uint(len(table)); i += 1 << n {
		table[i] = entry
	}
}
