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
	buf              []byte
	roots            []uint32 // by the hash of four bytes
	nodes            []uint32 // two for each place in the window: the one with lesser bytes, and with greater
	last             []uint32 // by the hash of three bytes
	shift, lastShift uint8    // of the hashes
	mask             uint32   // the window's size - 1
	next             int      // the place that is put into the tree next
	depth            int      // how many nodes are looked at for one place
	found            []match
}

func newTree(windowLog, depth int) tree {
	hashLog, lastLog := min(windowLog, 20), min(windowLog, nearLog)
	return tree{
		roots: make([]uint32, 1<<hashLog), nodes: make([]uint32, 2<<windowLog), last: make([]uint32, 1<<lastLog),
		shift: uint8(32 - hashLog), lastShift: uint8(32 - lastLog), //nolint:gosec // at most 31
		mask: 1<<windowLog - 1, next: 1, depth: depth,
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

// matches returns the matches of a place, of which each is longer than those before it,
// up to the end. They are valid until the next call.
func (t *tree) matches(at, end int, old distances, bare bool) []match {
	t.found = t.found[:0]
	if at < t.next { // It is within a long match.
		return nil
	}
	for t.next < at {
		t.next += t.insert(t.next, end, minMatch, nil)
	}
	best := t.repeats(at, end, old, bare)
	if best >= end-at {
		return t.found
	}
	best = t.nearby(at, end, best)
	t.next = at + t.insert(at, end, best, &t.found)
	return t.found
}

// repeats finds matches at the last distances.
func (t *tree) repeats(at, end int, old distances, bare bool) int {
	best := minMatch - 1
	for off := uint32(1); off <= 3; off++ {
		d := old.repeated(off, bare)
		if d == 0 || d > t.mask || int(d) >= at {
			continue
		}
		if n := t.equal(at-int(d), at, end); n > best {
			best = n
			t.found = append(t.found, match{off, uint32(n)}) //nolint:gosec // at most a block
		}
	}
	return best
}

// nearby finds a match of three bytes or more, if none was found yet.
func (t *tree) nearby(at, end, best int) int {
	h := binary.LittleEndian.Uint32(t.buf[at:]) << 8 * 506832829 >> t.lastShift
	old := t.last[h]
	t.last[h] = uint32(at) //nolint:gosec // a place
	if best >= minMatch || old < t.low(at) || at-int(old) >= near {
		return best
	}
	if n := t.equal(int(old), at, end); n >= minMatch {
		t.found = append(t.found, match{uint32(at) - old + 3, uint32(n)}) //nolint:gosec // places
		return n
	}
	return best
}

// insert makes a place the root of its tree, and adds the matches on the way that are
// longer than best to found, if that is not nil. It returns how many places on the next
// is that is to be put into the tree.
func (t *tree) insert(at, end, best int, found *[]match) int {
	h := binary.LittleEndian.Uint32(t.buf[at:]) * 2654435761 >> t.shift
	old, low := t.roots[h], t.low(at)
	t.roots[h] = uint32(at) //nolint:gosec // a place
	var (
		lost            uint32
		lesser, greater = &t.nodes[2*(uint32(at)&t.mask)], &t.nodes[2*(uint32(at)&t.mask)+1] //nolint:gosec // a place
		less, more      int                                                                  // bytes that all below have in common with the place
		reached         = at + hashed + 1
		longest         = hashed
	)
	for n := t.depth; n > 0 && old >= low; n-- {
		k := min(less, more)
		k += t.equal(int(old)+k, at+k, end)
		if k > longest {
			longest = k
			reached = max(reached, int(old)+k)
		}
		if found != nil && k > best {
			best = k
			*found = append(*found, match{uint32(at) - old + 3, uint32(k)}) //nolint:gosec // places
		}
		if at+k >= end { // Which one is greater is not known.
			break
		}
		node := t.nodes[2*(old&t.mask) : 2*(old&t.mask)+2 : 2*(old&t.mask)+2]
		if t.buf[int(old)+k] < t.buf[at+k] {
			*lesser, less = old, k
			if old == low {
				lesser = &lost
				break
			}
			lesser, old = &node[1], node[1]
		} else {
			*greater, more = old, k
			if old == low {
				greater = &lost
				break
			}
			greater, old = &node[0], node[0]
		}
	}
	*lesser, *greater = 0, 0
	skip := 1
	if found == nil && longest > longSkip {
		skip = min(192, longest-longSkip)
	}
	return max(skip, reached-at-hashed)
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
