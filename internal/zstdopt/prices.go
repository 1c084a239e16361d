package zstdopt

import "math"

// bit is the price of a bit.
const bit = 256

// counts are how often each value was written of late. They say what it costs.
type counts struct {
	lits    [256]uint32
	lit     [maxLitCode + 1]uint32
	match   [maxMatchCode + 1]uint32
	off     [maxOffCode + 1]uint32
	changed int // bytes since the prices were made
}

// prices are those of each literal, and of each code with its bits.
type prices struct {
	lits  [256]int32
	lit   [maxLitCode + 1]int32
	match [maxMatchCode + 1]int32
	off   [maxOffCode + 1]int32
}

// newCounts returns those of the zstd program for a frame's first block. They are few, so
// that what is written soon outweighs them.
func newCounts(block []byte) *counts {
	c := &counts{}
	for _, b := range block {
		c.lits[b]++
	}
	for i, n := range c.lits {
		c.lits[i] = n >> 8
		if n > 0 {
			c.lits[i]++
		}
	}
	for i := range c.lit {
		c.lit[i] = 1
	}
	c.lit[0], c.lit[1] = 4, 2
	for i := range c.match {
		c.match[i] = 1
	}
	for i := range c.off {
		c.off[i] = 1
	}
	copy(c.off[:], []uint32{6, 2, 1, 1, 2, 3, 4, 4, 4, 3, 2})
	return c
}

// age makes what was written before the next block count less.
func (c *counts) age() {
	age(c.lits[:], 1<<12)
	age(c.lit[:], 1<<11)
	age(c.match[:], 1<<11)
	age(c.off[:], 1<<11)
}

// age divides counts by a power of two, so that they are no more than most together.
func age(counts []uint32, most uint32) {
	shift := 0
	for sum := total(counts); sum>>shift > most; shift++ {
	}
	for i, n := range counts {
		counts[i] = n >> shift
		if n > 0 {
			counts[i]++
		}
	}
}

// add counts a sequence, with its literals.
func (c *counts) add(s sequence, lits []byte) {
	for _, b := range lits {
		c.lits[b] += 2
	}
	c.lit[litCode(s.lit)]++
	c.match[matchCode(s.match)]++
	c.off[offCode(s.off)]++
	c.changed += len(lits) + int(s.match)
}

// since returns what was counted after an earlier time, and one of each.
func (c *counts) since(before *counts) *counts {
	n := *c
	since(n.lits[:], before.lits[:])
	since(n.lit[:], before.lit[:])
	since(n.match[:], before.match[:])
	since(n.off[:], before.off[:])
	return &n
}

func since(now, before []uint32) {
	for i, n := range before {
		now[i] = max(1, now[i]-n)
	}
}

// price makes the prices of what was counted.
func (c *counts) price(p *prices) {
	c.changed = 0
	price(p.lits[:], c.lits[:], func(int) uint8 { return 0 })
	for i, n := range p.lits { // More than eight bits is more than they cost as they are.
		p.lits[i] = min(n, 8*bit)
	}
	price(p.lit[:], c.lit[:], func(i int) uint8 { return litBits[i] })
	price(p.match[:], c.match[:], func(i int) uint8 { return matchBits[i] })
	price(p.off[:], c.off[:], func(i int) uint8 { return uint8(i) }) //nolint:gosec // at most 31
}

func price(prices []int32, counts []uint32, bits func(int) uint8) {
	sum := math.Log2(float64(total(counts)) + 1)
	for i, n := range counts {
		prices[i] = int32((sum-math.Log2(float64(max(n, 1))))*bit) + int32(bits(i))*bit
	}
}

func total(counts []uint32) (sum uint32) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// length is what a number of literals costs, without the literals.
func (p *prices) length(lits uint32) int32 { return p.lit[litCode(lits)] }

// longer is what one literal more costs: itself, and what another number of them does.
func (p *prices) longer(b byte, lits uint32) int32 {
	return p.lits[b] + p.length(lits) - p.length(lits-1)
}

// distance is what a match costs without its length. It is a little more than its bits: fewer
// sequences are read faster.
func (p *prices) distance(off uint32) int32 { return p.off[offCode(off)] + bit/5 }
