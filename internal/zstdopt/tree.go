package zstdopt

import (
	"encoding/binary"
	"math/bits"
)

const (
	// hashed is how many bytes must follow a place that is put into the tree.
	hashed = 8
	// near is up to which distance a match of three bytes is looked for.
	near     = 1 << 17
	nearLog  = 16
	longSkip = 384 // of a match this long not every place is put into the tree
	// sparse says how many bytes without a match of four bytes make the search pass over every
	// second place: 1<<sparse. What is random already takes less time so.
	sparse = 12
	// mostMatches is how many of a block are kept; it seldom has half as many.
	mostMatches = 1 << 20
	// beyond is how many bytes behind the buffer may be read. What they are changes nothing.
	beyond = 16
	// ahead is of how many places at once it is touched what they will need.
	ahead = 16
)

// A match is what a place has in common with an earlier one.
type match struct {
	off uint32 // see sequence
	len uint32
}

// tree finds matches in buf. Places of it are positions, of which 0 is none: the data
// begins at 1.
//
// The places of a hash are a binary search tree, ordered by the bytes that follow each.
// The newest is its root, so a path down from it comes to ever older ones.
type tree struct {
	buf              []byte   // with room for beyond bytes more
	roots            []uint32 // by the hash of four bytes
	nodes            []uint32 // two for each place in the window: the one with lesser bytes, and with greater
	last             []uint32 // by the hash of three bytes
	shift, lastShift uint8    // of the hashes
	mask             uint32   // the window's size - 1
	next             int      // the place that is put into the tree next

	// The matches of a block, which begins at from, and where those of each place begin.
	all   []match
	first [blockSize + 1]uint32
	from  int

	touched uint32 // see touch
}

func newTree(windowLog int) tree {
	hashLog, lastLog := min(windowLog, 20), min(windowLog, nearLog)
	return tree{
		all:   make([]match, 0, mostMatches), // It touches what it needs, and does not grow.
		roots: make([]uint32, 1<<hashLog), nodes: make([]uint32, 2<<windowLog), last: make([]uint32, 1<<lastLog),
		shift: uint8(32 - hashLog), lastShift: uint8(32 - lastLog), //nolint:gosec // at most 31
		mask: 1<<windowLog - 1, next: 1,
	}
}

// slide forgets the first n places, which are a multiple of the window.
func (t *tree) slide(n int) {
	for _, table := range [][]uint32{t.roots, t.nodes, t.last} {
		for i, at := range table {
			table[i] = at - min(at, uint32(n)) //nolint:gosec // a few windows
		}
	}
	t.next -= n
}

// low is the first place that is in the window of another one.
func (t *tree) low(at int) uint32 {
	return uint32(max(1, at-int(t.mask))) //nolint:gosec // a place
}

// find puts the places of a block into the tree, and keeps the matches of each. depth is how
// many nodes are looked at for a place, and tail how many places of a run are put into the tree.
func (t *tree) find(from, to, depth, tail int) {
	t.all, t.from, t.next = t.all[:0], from, max(t.next, from)
	bare, touched := from, from // without a match from here on, and touched up to here
	for at := from; at < to; at++ {
		begin := len(t.all)
		t.first[at-from] = uint32(begin) //nolint:gosec // as many as fit into memory
		if at < t.next || at > to-hashed {
			continue
		}
		if at >= touched {
			touched = min(at+ahead, to-hashed+1)
			t.touch(at, touched)
		}
		t.nearby(at, to)
		t.next = t.insert(at, to, begin, depth, tail)
		var long match
		if n := len(t.all); n > begin {
			long = t.all[n-1]
		}
		if long.len > minMatch {
			bare = max(bare, at+int(long.len))
		}
		if long.len > longSkip {
			// It is a match of the next places, too.
			for skip := min(192, long.len-longSkip); skip > 1; skip-- {
				at++
				long.len--
				t.first[at-from] = uint32(len(t.all)) //nolint:gosec // as above
				t.all = append(t.all, long)
			}
		}
		t.next = max(t.next, at+1+max(0, at-bare)>>sparse)
	}
	t.first[to-from] = uint32(len(t.all)) //nolint:gosec // as above
}

// touch reads what the next places will need, all at the same time: most of it is in no cache.
func (t *tree) touch(at, end int) {
	for ; at < end; at++ {
		old := t.roots[t.hash(at)]
		t.touched ^= t.nodes[2*(old&t.mask)] ^ uint32(t.buf[old])
	}
}

func (t *tree) hash(at int) uint32 {
	return binary.LittleEndian.Uint32(t.buf[at:]) * 2654435761 >> t.shift
}

// matches returns the matches of a place, of which each is longer than those before it.
func (t *tree) matches(at int) []match {
	return t.all[t.first[at-t.from]:t.first[at-t.from+1]]
}

// nearby finds a match of three bytes or more.
func (t *tree) nearby(at, end int) {
	h := binary.LittleEndian.Uint32(t.buf[at:]) << 8 * 506832829 >> t.lastShift
	old := t.last[h]
	t.last[h] = uint32(at) //nolint:gosec // a place
	if old < t.low(at) || at-int(old) >= near {
		return
	}
	if n := t.equal(int(old), at, end); n >= minMatch {
		t.all = append(t.all, match{uint32(at) - old + 3, uint32(n)}) //nolint:gosec // places
	}
}

// insert makes a place the root of its tree, and adds the matches on the way that are
// longer than those that begin at begin. It returns which place is to be put into the tree
// next: of a run, which repeats what is just before it, only the last places are.
func (t *tree) insert(at, end, begin, depth, tail int) int {
	buf, nodes, mask := t.buf[:len(t.buf)+beyond], t.nodes, t.mask
	h := t.hash(at)
	old, low := t.roots[h], t.low(at)
	t.roots[h] = uint32(at) //nolint:gosec // a place
	best := minMatch - 1
	if n := len(t.all); n > begin {
		best = int(t.all[n-1].len)
	}
	var (
		lesser, greater = 2 * (uint32(at) & mask), 2*(uint32(at)&mask) + 1 //nolint:gosec // a place
		less, more      int                                                // bytes that all below have in common with the place
		reached         = at + hashed + 1
	)
	for n := depth; n > 0 && old >= low; n-- {
		k := min(less, more)
		x, y := binary.BigEndian.Uint64(buf[int(old)+k:]), binary.BigEndian.Uint64(buf[at+k:])
		for x == y && at+k < end {
			k += 8
			x, y = binary.BigEndian.Uint64(buf[int(old)+k:]), binary.BigEndian.Uint64(buf[at+k:])
		}
		k = min(k+bits.LeadingZeros64(x^y)>>3, end-at)
		if k > best {
			best = k
			if len(t.all) < mostMatches {
				t.all = append(t.all, match{uint32(at) - old + 3, uint32(k)}) //nolint:gosec // places
			}
		}
		reached = max(reached, int(old)+k)
		if at+k >= end { // Which one is greater is not known.
			break
		}
		node := 2 * (old & mask)
		if x < y {
			nodes[lesser], less = old, k
			lesser, old = node+1, nodes[node+1]
		} else {
			nodes[greater], more = old, k
			greater, old = node, nodes[node]
		}
	}
	nodes[lesser], nodes[greater] = 0, 0
	return max(at+1, reached-tail)
}

// equal is how many bytes from two places on are equal, up to the end for the later one.
func (t *tree) equal(a, b, end int) int {
	x, y := t.buf[a:end], t.buf[b:end]
	n := 0
	for len(y)-n >= 8 {
		if d := binary.LittleEndian.Uint64(x[n:]) ^ binary.LittleEndian.Uint64(y[n:]); d != 0 {
			return n + bits.TrailingZeros64(d)>>3
		}
		n += 8
	}
	for n < len(y) && x[n] == y[n] {
		n++
	}
	return n
}
