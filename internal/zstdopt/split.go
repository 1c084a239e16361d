package zstdopt

import (
	"math"
	"slices"
)

const (
	// pieces is into how many pieces of about the same size a block is divided at most. Where
	// their statistics differ they become blocks of their own, with tables of their own.
	pieces = 32
	// What a block costs beside its symbols, in bits: headers, the ends of streams, and for
	// each symbol that it uses what the tables say of it.
	blockCost  = 200
	symbolCost = 4
)

// A part of a block is a block of its own.
type part struct {
	text, lits []byte
	seqs       []sequence
}

// tally has how often each literal and each code is used up to some place.
type tally [256 + maxLitCode + 1 + maxMatchCode + 1 + maxOffCode + 1]uint32

// kinds are where the symbols of each kind begin in a tally.
var kinds = [...]int{0, 256, 256 + maxLitCode + 1, 256 + maxLitCode + 1 + maxMatchCode + 1, len(tally{})}

// add counts a sequence and its literals.
func (t *tally) add(s sequence, lits []byte) {
	for _, b := range lits {
		t[b]++
	}
	t[kinds[1]+int(litCode(s.lit))]++
	t[kinds[2]+int(matchCode(s.match))]++
	t[kinds[3]+int(offCode(s.off))]++
}

// logs are n*log2(n).
var logs = func() (logs [1 << 10]float32) {
	for n := range logs[1:] {
		logs[n+1] = float32(float64(n+1) * math.Log2(float64(n+1)))
	}
	return logs
}()

func nlog(n uint32) float32 {
	if n < uint32(len(logs)) {
		return logs[n]
	}
	return float32(float64(n) * math.Log2(float64(n)))
}

// cost is about how many bits a block takes of what is in one tally and not in an earlier one.
func (t *tally) cost(before *tally) float32 {
	bits := float32(blockCost)
	for k, from := range kinds[:len(kinds)-1] {
		now, was := t[from:kinds[k+1]], before[from:kinds[k+1]]
		sum := uint32(0)
		for i, n := range now {
			if n -= was[i]; n > 0 {
				sum += n
				bits += symbolCost - nlog(n)
			}
		}
		bits += nlog(sum)
	}
	return bits
}

// splitter divides blocks. It has how much there is of a block before each of its pieces.
type splitter struct {
	tallies [pieces + 1]tally
	before  [pieces + 1]part
	parts   []part
}

// split divides a block where its statistics change. The parts are valid until the next call.
func (s *splitter) split(whole part) []part {
	n := s.count(whole)
	var least [pieces + 1]float32
	var from [pieces + 1]int
	for to := 1; to <= n; to++ {
		least[to] = math.MaxFloat32
		for i := range to {
			if cost := least[i] + s.tallies[to].cost(&s.tallies[i]); cost < least[to] {
				least[to], from[to] = cost, i
			}
		}
	}
	s.parts = s.parts[:0]
	for to := n; to > 0; to = from[to] {
		a, b := s.before[from[to]], s.before[to]
		s.parts = append(s.parts, part{b.text[len(a.text):], b.lits[len(a.lits):], b.seqs[len(a.seqs):]})
	}
	slices.Reverse(s.parts)
	return s.parts
}

// count takes stock of a block's pieces, and returns how many there are.
func (s *splitter) count(whole part) int {
	n, text, lits := 1, 0, 0
	s.tallies[1] = tally{}
	for i, q := range whole.seqs {
		if text-len(s.before[n-1].text) >= blockSize/pieces {
			s.before[n] = part{whole.text[:text], whole.lits[:lits], whole.seqs[:i]}
			s.tallies[n+1] = s.tallies[n]
			n++
		}
		s.tallies[n].add(q, whole.lits[lits:lits+int(q.lit)])
		lits += int(q.lit)
		text += int(q.lit + q.match)
	}
	for _, b := range whole.lits[lits:] {
		s.tallies[n][b]++
	}
	s.before[n] = whole
	return n
}
