package zstdopt

import (
	"math"
	"math/bits"
)

// The tables that every decoder has (RFC 8878, 3.1.1.3.2.2). A negative number is a
// probability of less than one.
var (
	predefinedLit = newTable(6, []int16{
		4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1,
	})
	predefinedMatch = newTable(6, []int16{
		1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		-1, -1, -1, -1, -1, -1, -1,
	})
	predefinedOff = newTable(5, []int16{
		1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
	})
)

// A table writes symbols by Finite State Entropy (RFC 8878, 4.1). A state is a number from
// 1<<log on; a symbol takes the lowest bits of the state away and leads to another one.
type table struct {
	log    int
	norm   []int16  // how many of the 1<<log states each symbol has
	states []uint16 // those of each symbol, one symbol after the other
	// For each symbol: (state+bits)>>16 is how many bits it writes, and what they leave of
	// the state is beside first in states.
	bits  []uint32
	first []int32
}

// newTable makes the table of the probabilities.
func newTable(log int, norm []int16) *table {
	t := &table{log: log, norm: norm, states: make([]uint16, 1<<log), bits: make([]uint32, len(norm)), first: make([]int32, len(norm))}
	symbols := spread(log, norm)
	next := make([]int, len(norm)) // the place of each symbol's next state
	sum := 0
	for s, n := range norm {
		next[s] = sum
		switch n {
		case 0:
		case 1, -1:
			t.bits[s] = uint32(log<<16 - 1<<log) //nolint:gosec // log is 5 to 9
			t.first[s] = int32(sum - 1)          //nolint:gosec // below 1<<log
			sum++
		default:
			most := log - (bits.Len16(uint16(n-1)) - 1)
			t.bits[s] = uint32(most<<16 - int(n)<<most) //nolint:gosec // positive
			t.first[s] = int32(sum - int(n))            //nolint:gosec // below 1<<log
			sum += int(n)
		}
	}
	for i, s := range symbols {
		t.states[next[s]] = uint16(1<<log + i) //nolint:gosec // below 2<<log
		next[s]++
	}
	return t
}

// spread returns the symbol of each state.
func spread(log int, norm []int16) []uint8 {
	size := 1 << log
	symbols := make([]uint8, size)
	high := size - 1
	for s, n := range norm {
		if n < 0 {
			symbols[high] = uint8(s) //nolint:gosec // at most 52
			high--
		}
	}
	at := 0
	for s, n := range norm {
		for range max(n, 0) {
			symbols[at] = uint8(s) //nolint:gosec // at most 52
			for at = (at + size>>1 + size>>3 + 3) & (size - 1); at > high; {
				at = (at + size>>1 + size>>3 + 3) & (size - 1)
			}
		}
	}
	return symbols
}

// single is the table of one symbol, which takes no bits.
func single(symbol uint8) *table {
	n := int(symbol) + 1
	return &table{states: []uint16{0}, bits: make([]uint32, n), first: make([]int32, n)}
}

// start returns the state from which on a symbol is the last one that is read.
func (t *table) start(symbol uint8) uint32 {
	n := (t.bits[symbol] + 1<<15) >> 16
	return uint32(t.states[int32((n<<16-t.bits[symbol])>>n)+t.first[symbol]]) //nolint:gosec // a state
}

// write writes a symbol, and returns the state that it leads to.
func (t *table) write(w *bitWriter, state uint32, symbol uint8) uint32 {
	n := (state + t.bits[symbol]) >> 16
	w.add(uint64(state), n)
	return uint32(t.states[int32(state>>n)+t.first[symbol]]) //nolint:gosec // a state
}

// cost is how many bits the symbols take that were counted. It is infinite if the table
// has not all.
func (t *table) cost(counts []uint32) float64 {
	sum := 0.0
	for s, n := range counts {
		if n == 0 {
			continue
		}
		if s >= len(t.norm) || t.norm[s] == 0 {
			return math.Inf(1)
		}
		sum += float64(n) * (float64(t.log) - math.Log2(float64(max(t.norm[s], 1))))
	}
	return sum
}

// tableOf returns the table of what was counted that takes least, with the table itself,
// of at most the size, and how it is written.
func tableOf(counts []uint32, maxLog int) (best *table, head []byte) {
	sum, used, last := uint32(0), 0, 0
	for s, n := range counts {
		sum += n
		if n > 0 {
			used, last = used+1, s
		}
	}
	least := math.Inf(1)
	for log := max(5, bits.Len(uint(used-1))); log <= maxLog; log++ { //nolint:gosec // at least 2
		norm := normalize(counts[:last+1], sum, log)
		t := &table{log: log, norm: norm}
		text := t.head()
		if cost := t.cost(counts) + 8*float64(len(text)); cost < least {
			least, best, head = cost, t, text
		}
	}
	return newTable(best.log, best.norm), head
}

// normalize divides the states among the symbols: one for each, and the others where they
// save most.
func normalize(counts []uint32, sum uint32, log int) []int16 {
	norm := make([]int16, len(counts))
	left := 1 << log
	for s, n := range counts {
		if n > 0 {
			norm[s] = int16(max(1, uint64(n)<<log/uint64(sum))) //nolint:gosec // at most 1<<log
			left -= int(norm[s])
		}
	}
	for ; left > 0; left-- {
		norm[pick(norm, func(s int) float64 { return float64(counts[s]) * math.Log2(float64(norm[s]+1)/float64(norm[s])) })]++
	}
	for ; left < 0; left++ {
		norm[pick(norm, func(s int) float64 {
			if norm[s] == 1 {
				return math.Inf(-1)
			}
			return -float64(counts[s]) * math.Log2(float64(norm[s])/float64(norm[s]-1))
		})]--
	}
	return norm
}

// pick returns the symbol of which something is greatest.
func pick(norm []int16, of func(int) float64) int {
	best, most := -1, math.Inf(-1)
	for s, n := range norm {
		if n == 0 {
			continue
		}
		if v := of(s); best < 0 || v > most {
			best, most = s, v
		}
	}
	return best
}

// head returns the table's description (RFC 8878, 4.1.1).
func (t *table) head() []byte {
	var w bitWriter
	w.add(uint64(t.log-5), 4) //nolint:gosec // 5 to 9
	left, size, width := 1<<t.log+1, 1<<t.log, uint32(t.log+1)
	for s := 0; s < len(t.norm) && left > 1; s++ {
		n := int(t.norm[s])
		spare := 2*size - 1 - left // values below take a bit less
		v := n + 1
		if v >= size {
			v += spare
		}
		if v < spare {
			w.add(uint64(v), width-1)
		} else {
			w.add(uint64(v), width)
		}
		left -= max(n, -n)
		for left < size {
			size, width = size>>1, width-1
		}
		if n == 0 {
			s += w.zeros(t.norm[s+1:])
		}
	}
	return w.flush()
}

// zeros writes how many symbols without a state follow one.
func (w *bitWriter) zeros(norm []int16) int {
	n := 0
	for n < len(norm) && norm[n] == 0 {
		n++
	}
	for i := n; ; i -= 3 {
		w.add(uint64(min(i, 3)), 2) //nolint:gosec // not negative
		if i < 3 {
			return n
		}
	}
}

// bitWriter writes bits, the lowest first.
type bitWriter struct {
	out  []byte
	bits uint64
	n    uint32
}

// add writes the n lowest bits of v, at most 32.
func (w *bitWriter) add(v uint64, n uint32) {
	w.bits |= v & (1<<n - 1) << w.n
	w.n += n
	for ; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.bits))
		w.bits >>= 8
	}
}

// flush returns what was written, filled with zeros to a whole byte.
func (w *bitWriter) flush() []byte {
	if w.n > 0 {
		w.out = append(w.out, byte(w.bits))
		w.bits, w.n = 0, 0
	}
	return w.out
}
