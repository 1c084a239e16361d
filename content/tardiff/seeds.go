package tardiff

import (
	"encoding/binary"
	"math/bits"
)

const (
	// maxSeeds is the number of places that a table has at most, each of 4 bytes: 32
	// MiB. There are two tables, one for the file that is compared with and one for
	// the whole tree. Of more bytes every second, fourth … place is in the table.
	maxSeeds = 8 << 20
	// fewSeeds is how many places a table of one file has up to coarseStep, which most
	// files need not exceed. A table that fits into a processor's cache is filled in a
	// third of the time. The delta of a program of 27 MB is 0.2 % larger for it, and those
	// of an npm tree and of Debian are no larger.
	fewSeeds   = 2 << 20
	coarseStep = 16
	// fineStep is the least distance. With 1 the delta of an npm tree is 0.8 % smaller, and
	// takes a tenth longer.
	fineStep = 2
	// wholeStep is the least distance of places in the table of the whole tree. That
	// finds what moved from one file to another, and of that long pieces alone are worth
	// it: with 8 the delta of an npm tree is no smaller, and takes half as long again.
	wholeStep = 64
	// seedIndex bits of an entry are the place, counted from 1. The others are of the
	// hash, so that few places are looked at in vain.
	seedIndex = 24
	// addBuffer is the number of bytes that are read at once to fill a table.
	addBuffer = 256 << 10
)

// seeds is a table of the places of an old file, or of many, by the bytes there.
type seeds struct {
	tab   []uint32
	shift int   // of a hash, to be an index of tab
	step  int64 // distance of places
	k     int   // bytes that are hashed at each place: 24 or 32
	base  int64 // the place that entries are counted from
	buf   []byte
}

// stepFor is the distance of places in so many bytes.
func stepFor(size int64) int64 {
	step := int64(fineStep)
	for size/step >= maxSeeds || size/step >= fewSeeds && step < coarseStep {
		step *= 2
	}
	return step
}

// reset makes the table empty, for so many bytes from base on.
func (s *seeds) reset(base, size, step int64) {
	s.base, s.step = base, step
	// Short seeds lead astray: with 16 bytes the delta of an npm tree is 5 % larger, and
	// that of a Debian 1 %. In a large program long ones find too little.
	s.k = 32
	if step > fineStep && step <= coarseStep {
		s.k = 24
	}
	lg := max(4, bits.Len64(uint64(size/step))) //nolint:gosec // not negative
	s.shift = 64 - lg
	if cap(s.tab) < 1<<lg {
		s.tab = make([]uint32, 1<<lg)
		return
	}
	s.tab = s.tab[:1<<lg]
	clear(s.tab)
}

// add adds the places of a file. It reports whether the file could be read.
func (s *seeds) add(sp *space, file int) bool {
	if s.buf == nil {
		s.buf = make([]byte, addBuffer)
	}
	f := &sp.files[file]
	for off := int64(0); off+int64(s.k) <= f.size; {
		b := s.buf[:min(addBuffer, f.size-off)]
		if !sp.read(file, b, off) {
			return false
		}
		i := int64(0)
		for ; i+int64(s.k) <= int64(len(b)); i += s.step {
			s.put(b[i:], f.base+off+i)
		}
		off += i
	}
	return true
}

// put adds one place, where the bytes b begin.
func (s *seeds) put(b []byte, at int64) {
	x := binary.LittleEndian.Uint64(b)
	if x == bits.RotateLeft64(x, 8) && x == binary.LittleEndian.Uint64(b[8:]) {
		return // one byte again and again, which is in many places
	}
	h := hashBytes(b[:s.k])
	n := (at-s.base)/s.step + 1
	s.tab[h>>s.shift] = uint32(n) | uint32(h&0xff)<<seedIndex //nolint:gosec // at most maxSeeds
}

// at returns a place where the bytes that b begins with may be, or none. b has k
// bytes or more.
func (s *seeds) at(b []byte) int64 {
	h := hashBytes(b[:s.k])
	e := s.tab[h>>s.shift]
	if e == 0 || e>>seedIndex != uint32(h&0xff) {
		return none
	}
	return s.base + int64(e&(1<<seedIndex-1)-1)*s.step
}

// barren is how many of the first n places of b have no entry, nor 8 bytes that a or c has
// at the same place. These may be empty, or have n+8 bytes. b has n+k.
func (s *seeds) barren(b, a, c []byte, n int) int {
	for i := range n {
		w := b[i : i+s.k]
		x := binary.LittleEndian.Uint64(w)
		if len(a) > 0 && x == binary.LittleEndian.Uint64(a[i:]) || len(c) > 0 && x == binary.LittleEndian.Uint64(c[i:]) {
			return i
		}
		h := hashBytes(w)
		if e := s.tab[h>>s.shift]; e != 0 && e>>seedIndex == uint32(h&0xff) {
			return i
		}
	}
	return n
}

// hashBytes hashes 24 or 32 bytes.
func hashBytes(b []byte) uint64 {
	const m1, m2, m3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
	h := binary.LittleEndian.Uint64(b) * m1
	for i := 8; i < len(b); i += 8 {
		h = bits.RotateLeft64(h, 29)*m3 ^ binary.LittleEndian.Uint64(b[i:])*m2
	}
	h ^= h >> 32
	return h * m1
}

// equalRun is the number of equal bytes that a and b begin with.
func equalRun(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[:n], b[:n]
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
