package zstdopt

import (
	"bytes"
	"errors"
	"math"

	"github.com/klauspost/compress/huff0"
)

const (
	blockSize = 1 << 17 // the largest that there is

	rawBlock        = 0
	rleBlock        = 1
	compressedBlock = 2

	rawLits, rleLits, packedLits, repeatedLits = 0, 1, 2, 3
)

// blockWriter writes blocks. It remembers the tables that the reader has.
type blockWriter struct {
	huffman *huff0.Scratch
	lit     kind
	match   kind
	off     kind
	codes   []codes
	out     []byte
}

// kind is one of the three numbers of a sequence.
type kind struct {
	predefined *table
	maxLog     int
	last       *table // nil: the reader has none
	counts     [maxMatchCode + 1]uint32
}

// codes are those of a sequence.
type codes struct{ lit, match, off uint8 }

func newBlockWriter() blockWriter {
	return blockWriter{
		huffman: &huff0.Scratch{Reuse: huff0.ReusePolicyNone},
		lit:     kind{predefined: predefinedLit, maxLog: 9},
		match:   kind{predefined: predefinedMatch, maxLog: 9},
		off:     kind{predefined: predefinedOff, maxLog: 8},
	}
}

// block returns a block with its header, which is valid until the next call, and whether
// it has the sequences. Where they take more than the text does they are left out.
func (b *blockWriter) block(p part, last bool) ([]byte, bool) {
	text := p.text
	if len(text) > 3 && bytes.Count(text, text[:1]) == len(text) {
		b.out = append(b.head(rleBlock, len(text), last), text[0])
		return b.out, false
	}
	b.out = b.literals(b.head(compressedBlock, 0, last), p.lits)
	b.sequences(p.seqs)
	if n := len(b.out) - 3; n < len(text) {
		b.head(compressedBlock, n, last)
		return b.out, true
	}
	b.forget()
	b.out = append(b.head(rawBlock, len(text), last), text...)
	return b.out, false
}

// forget makes the next block use no table that the reader has.
func (b *blockWriter) forget() {
	b.huffman.Reuse = huff0.ReusePolicyNone
	b.lit.last, b.match.last, b.off.last = nil, nil, nil
}

// head writes the header at the start of out (RFC 8878, 3.1.1.2).
func (b *blockWriter) head(kind, size int, last bool) []byte {
	v := size<<3 | kind<<1
	if last {
		v |= 1
	}
	return append(b.out[:0], byte(v), byte(v>>8), byte(v>>16))
}

// literals appends the section of literals (RFC 8878, 3.1.1.3.1).
func (b *blockWriter) literals(out, lits []byte) []byte {
	var packed []byte
	var again bool
	err := huff0.ErrIncompressible
	switch {
	case len(lits) >= 1<<10:
		packed, again, err = huff0.Compress4X(lits, b.huffman)
	case len(lits) > 16:
		packed, again, err = huff0.Compress1X(lits, b.huffman)
	}
	if errors.Is(err, huff0.ErrUseRLE) {
		return append(plainHead(out, rleLits, len(lits)), lits[0])
	}
	if err != nil || len(packed)+5 > len(lits) {
		if err == nil { // The reader does not get the table.
			b.huffman.Reuse = huff0.ReusePolicyNone
		}
		return append(plainHead(out, rawLits, len(lits)), lits...)
	}
	b.huffman.Reuse = huff0.ReusePolicyAllow
	kind := packedLits
	if again {
		kind = repeatedLits
	}
	return append(packedHead(out, kind, len(lits), len(packed)), packed...)
}

// plainHead appends the header of literals that are not packed.
func plainHead(out []byte, kind, n int) []byte {
	switch {
	case n < 1<<5:
		return append(out, byte(kind|n<<3))
	case n < 1<<12:
		v := kind | 1<<2 | n<<4
		return append(out, byte(v), byte(v>>8))
	default:
		v := kind | 3<<2 | n<<4
		return append(out, byte(v), byte(v>>8), byte(v>>16))
	}
}

// packedHead appends the header of n literals that take size bytes.
func packedHead(out []byte, kind, n, size int) []byte {
	form, width := 3, 18 // four streams from here on
	switch most := max(n, size); {
	case n < 1<<10:
		form, width = 0, 10 // one stream
	case most < 1<<10:
		form, width = 1, 10
	case most < 1<<14:
		form, width = 2, 14
	}
	v := uint64(kind) | uint64(form)<<2 | uint64(n)<<4 | uint64(size)<<(4+width) //nolint:gosec // not negative
	for range (4 + 2*width + 7) / 8 {
		out = append(out, byte(v))
		v >>= 8
	}
	return out
}

// sequences appends the section of sequences (RFC 8878, 3.1.1.3.2).
func (b *blockWriter) sequences(seqs []sequence) {
	switch n := len(seqs); {
	case n < 128:
		b.out = append(b.out, byte(n))
	case n < 0x7f00:
		b.out = append(b.out, byte(n>>8+128), byte(n))
	default:
		b.out = append(b.out, 255, byte(n-0x7f00), byte((n-0x7f00)>>8))
	}
	if len(seqs) == 0 {
		return
	}
	b.count(seqs)
	at := len(b.out)
	b.out = append(b.out, 0)
	lit := b.table(&b.lit, at, 6)
	off := b.table(&b.off, at, 4)
	match := b.table(&b.match, at, 2)
	b.out = b.stream(seqs, lit, match, off)
}

// count makes the codes of the sequences.
func (b *blockWriter) count(seqs []sequence) {
	b.lit.counts, b.match.counts, b.off.counts = [maxMatchCode + 1]uint32{}, [maxMatchCode + 1]uint32{}, [maxMatchCode + 1]uint32{}
	b.codes = b.codes[:0]
	for _, s := range seqs {
		c := codes{litCode(s.lit), matchCode(s.match), offCode(s.off)}
		b.lit.counts[c.lit]++
		b.match.counts[c.match]++
		b.off.counts[c.off]++
		b.codes = append(b.codes, c)
	}
}

// table appends a table where the reader needs one, and says in the byte at a place which
// it is. It returns the table.
func (b *blockWriter) table(k *kind, at, shift int) *table {
	const predefined, one, own, again = 0, 1, 2, 3
	used, symbol := 0, 0
	for s, n := range k.counts {
		if n > 0 {
			used, symbol = used+1, s
		}
	}
	if used == 1 {
		b.out[at] |= one << shift
		b.out = append(b.out, byte(symbol))
		k.last = single(uint8(symbol)) //nolint:gosec // at most 52
		return k.last
	}
	t, head := tableOf(k.counts[:], k.maxLog)
	cost := t.cost(k.counts[:]) + 8*float64(len(head))
	was := math.Inf(1)
	if k.last != nil {
		was = k.last.cost(k.counts[:])
	}
	switch {
	case was <= cost && was <= k.predefined.cost(k.counts[:]):
		b.out[at] |= again << shift
		return k.last
	case k.predefined.cost(k.counts[:]) <= cost:
		b.out[at] |= predefined << shift
		k.last = k.predefined
	default:
		b.out[at] |= own << shift
		b.out = append(b.out, head...)
		k.last = t
	}
	return k.last
}

// stream appends the sequences themselves, which are read from the end.
func (b *blockWriter) stream(seqs []sequence, lit, match, off *table) []byte {
	w := bitWriter{out: b.out}
	last := len(seqs) - 1
	c := b.codes[last]
	litState, matchState, offState := lit.start(c.lit), match.start(c.match), off.start(c.off)
	for i := last; i >= 0; i-- {
		c, s := b.codes[i], seqs[i]
		if i < last {
			offState = off.write(&w, offState, c.off)
			matchState = match.write(&w, matchState, c.match)
			litState = lit.write(&w, litState, c.lit)
		}
		w.add(uint64(s.lit), uint32(litBits[c.lit]))
		w.add(uint64(s.match-minMatch), uint32(matchBits[c.match]))
		w.add(uint64(s.off), uint32(c.off))
	}
	w.add(uint64(matchState), uint32(match.log)) //nolint:gosec // at most 9
	w.add(uint64(offState), uint32(off.log))     //nolint:gosec // at most 9
	w.add(uint64(litState), uint32(lit.log))     //nolint:gosec // at most 9
	w.add(1, 1)
	return w.flush()
}
