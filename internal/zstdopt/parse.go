package zstdopt

import "math"

const (
	// most is how far ahead the cheapest way is sought.
	most = 1 << 12
	// priced is after how many bytes the prices are made anew.
	priced = 4 << 10
	// sparse says how many bytes without a match make the search pass over every second
	// place: 1<<sparse. What is random already takes no time so.
	sparse = 11
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
	old    distances
	counts *counts
	prices prices
	enough uint32 // a match of this length is taken without a look at others

	nodes [most + 1]node
	path  []node
	seqs  []sequence
	lits  []byte // of all sequences, and those after the last one
}

// parse divides the bytes of buf from a place to another into seqs and lits.
func (p *parser) parse(from, to int) {
	p.seqs, p.lits = p.seqs[:0], p.lits[:0]
	if p.counts == nil {
		p.counts = newCounts(p.buf[from:to])
	} else {
		p.counts.age()
	}
	p.counts.price(&p.prices)
	written := from
	for at := from; at <= to-hashed; {
		found := p.matches(at, to, p.old, at == written)
		if len(found) == 0 {
			at += 1 + (at-written)>>sparse
			p.next = max(p.next, at)
			continue
		}
		lits := uint32(at - written) //nolint:gosec // at most a block
		p.nodes[0] = node{price: p.prices.length(lits), lits: lits, old: p.old}
		end, last := p.cheapest(at, to, found)
		at += end
		written = p.take(written, end, last)
		if p.counts.changed > priced {
			p.counts.price(&p.prices)
		}
	}
	p.lits = append(p.lits, p.buf[written:to]...)
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
			if found = p.matches(at+cur, to, here.old, here.bare()); len(found) == 0 {
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
	base := p.nodes[cur].price + p.prices.length(0)
	length := uint32(minMatch)
	for _, m := range found {
		for ; length <= m.len; length++ {
			to := cur + int(length)
			for ; n < to; n++ {
				p.nodes[n+1].price = never
			}
			if price := base + p.prices.of(m.off, length); price < p.nodes[to].price {
				p.nodes[to] = node{price: price, match: length, off: m.off}
			}
		}
	}
	p.nodes[n+1].price = never
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
