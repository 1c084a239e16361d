package zstdopt

import "math"

const (
	// most is how far ahead the cheapest way is sought.
	most = 1 << 12
	// priced is after how many bytes the prices are made anew.
	priced = 4 << 10
	// never is a price that nothing has.
	never = math.MaxInt32 / 2
)

// A node is the cheapest way by now to write all before a place: a match, and literals
// after it.
type node struct {
	price int32
	match uint32 // 0: the literals are all since the last sequence
	off   uint32
	lits  uint32
	old   distances // before what follows
}

// bare: nothing is between the match and what follows.
func (n *node) bare() bool { return n.lits == 0 }

// parser divides blocks into sequences.
type parser struct {
	tree
	effort
	old    distances
	counts *counts
	prices prices
	found  []match

	nodes [most + 1]node
	path  []node
	seqs  []sequence
	lits  []byte // of all sequences, and those after the last one
}

// parse divides the bytes of buf from a place to another into seqs and lits.
func (p *parser) parse(from, to int) {
	if p.counts == nil {
		p.counts = newCounts(p.buf[from:to])
	} else {
		p.counts.age()
	}
	p.find(from, to, p.depth, p.tail)
	old, before := p.old, *p.counts
	p.counts.price(&p.prices)
	p.divide(from, to, false)
	if p.twice {
		p.counts.since(&before).price(&p.prices)
		p.old, *p.counts = old, before
		p.divide(from, to, true)
	}
}

// divide divides the bytes, by prices that are made anew now and then, or are fixed.
func (p *parser) divide(from, to int, fixed bool) {
	p.seqs, p.lits = p.seqs[:0], p.lits[:0]
	written := from
	for at := from; at <= to-hashed; {
		found := p.choices(at, to, p.old, at == written)
		if len(found) == 0 {
			at++
			continue
		}
		lits := uint32(at - written) //nolint:gosec // at most a block
		p.nodes[0] = node{price: p.prices.length(lits), lits: lits, old: p.old}
		end, last := p.cheapest(at, to, found)
		at += end
		written = p.take(written, end, last)
		if p.counts.changed > priced && !fixed {
			p.counts.price(&p.prices)
		}
	}
	p.lits = append(p.lits, p.buf[written:to]...)
}

// choices returns the matches at the last distances, and those of the tree that are longer.
// They are valid until the next call.
func (p *parser) choices(at, end int, old distances, bare bool) []match {
	matches := p.matches(at)
	p.found = p.found[:0]
	best := uint32(minMatch - 1)
	for off := uint32(1); off <= 3; off++ {
		d := old.repeated(off, bare)
		if d == 0 || d > p.mask || int(d) >= at {
			continue
		}
		if n := uint32(p.equal(at-int(d), at, end)); n > best { //nolint:gosec // at most a block
			best = n
			p.found = append(p.found, match{off, n})
		}
	}
	if best < minMatch {
		return matches
	}
	for _, m := range matches {
		if m.len > best {
			p.found = append(p.found, m)
		}
	}
	return p.found
}

// cheapest returns the cheapest way to write what is from at to some end, whose distance
// it returns too. The nodes are those of the places before it.
func (p *parser) cheapest(at, to int, found []match) (int, node) {
	p.nodes[1].price = never
	n := 0 // the last node that is reached
	for cur := 0; ; cur++ {
		here := &p.nodes[cur]
		if cur > 0 {
			p.step(at, cur)
			if cur == n {
				return n, *here
			}
			// A place where it costs less to be one byte on is on no cheap way.
			if at+cur > to-hashed || p.nodes[cur+1].price <= here.price+bit/2 {
				continue
			}
			if found = p.choices(at+cur, to, here.old, here.bare()); len(found) == 0 {
				continue
			}
		}
		if long := found[len(found)-1]; long.len > p.enough || cur+int(long.len) >= most {
			return cur + int(long.len), node{match: long.len, off: long.off}
		}
		n = p.reach(cur, n, found)
	}
}

// reach sets the nodes that are reached by matches from a place on, where they are cheaper.
// n is the last node that was reached before; it returns the last one now.
func (p *parser) reach(cur, n int, found []match) int {
	for to := cur + int(found[len(found)-1].len); n < to; n++ {
		p.nodes[n+1].price = never
	}
	p.nodes[n+1].price = never
	base := p.nodes[cur].price + p.prices.length(0)
	shorter := uint32(minMatch - 1)
	for _, m := range found {
		base := base + p.prices.distance(m.off)
		nodes := p.nodes[cur:][:m.len+1]
		for length := m.len; length > shorter; length-- {
			price := base + p.prices.match[matchCode(length)]
			if price >= nodes[length].price { // So it is for shorter ones, nearly always.
				break
			}
			nodes[length] = node{price: price, match: length, off: m.off}
		}
		shorter = m.len
	}
	return n
}

// step completes a node when all before it are: by one literal more than the node before,
// if that is cheaper.
func (p *parser) step(at, cur int) {
	before, here := &p.nodes[cur-1], &p.nodes[cur]
	if price := before.price + p.prices.longer(p.buf[at+cur-1], before.lits+1); price <= here.price {
		*here = *before
		here.lits++
		here.price = price
		return
	}
	if here.bare() {
		from := &p.nodes[cur-int(here.match)]
		here.old = from.old.after(here.off, from.bare())
	}
}

// take makes sequences of the way that ends with a node, and returns up to where all is in
// one.
func (p *parser) take(written, end int, last node) int {
	p.path = p.path[:0]
	for last.match > 0 {
		p.path = append(p.path, last)
		end -= int(last.match + last.lits)
		last = p.nodes[end]
	}
	lits := last.lits
	for i := len(p.path) - 1; i >= 0; i-- {
		s := sequence{lit: lits, match: p.path[i].match, off: p.path[i].off}
		text := p.buf[written : written+int(lits)]
		p.seqs, p.lits = append(p.seqs, s), append(p.lits, text...)
		p.counts.add(s, text)
		p.old = p.old.after(s.off, lits == 0)
		written += int(s.lit + s.match)
		lits = p.path[i].lits
	}
	return written
}
