package tardiff

const (
	// goodRun is the number of equal bytes after which an alignment is still right.
	goodRun = 8
	// gain is by how many bytes another alignment must be better to be taken. The
	// operations of a change cost more, but who waits for better ones misses some: of
	// a program, 3 gives a delta that is 4 % smaller than 8 does.
	gain = 3
	// lookAhead is how far two alignments are compared.
	lookAhead = 1024
	// lookBack is how far an alignment is extended backwards without getting better.
	lookBack = 4096
	// shortest is from how many bytes on a stretch is laid beside old bytes. The
	// operations of a shorter one cost more than its bytes do in a zstd stream that has
	// text of the same kind: an npm tree's delta is a third smaller for it.
	shortest = 48
	// sure is the number of equal bytes that show an alignment to be right again after
	// other bytes, and pastFew and pastMany are how many of these it may have passed. It
	// is pastMany as long as the table of seeds is empty: to fill it costs more than all
	// else, and where a file was changed in place it is never looked at.
	sure     = 64
	pastFew  = shortest
	pastMany = 4 << 10
)

// stretch is a piece of the new file: n bytes, laid beside the old bytes from a place
// on, or none for bytes that are like no old ones.
type stretch struct {
	n   int
	old int64
}

// source is what a new file is compared with: one old file, or all.
type source struct {
	seeds *seeds
	// next is the place beside which the new file's next byte is, by what is known
	// of the bytes before it, and end the same, if both files end alike. none: no
	// such place.
	next, end int64
	// fill fills the table. It is called when the table is needed first.
	fill func() bool
	full bool
}

// aligner finds stretches.
type aligner struct {
	cur, other window // what the alignment at hand shows, and another one
	new        []byte
	src        *source
	out        []stretch
	// What was compared last and was no better: a place beside the new file's first
	// byte, and where it is worth a look again.
	refused int64
	again   int
	// What was looked at last by resumes, and did not.
	lost   int64
	lostTo int
}

// align divides new bytes into stretches. They are valid until the next call.
func (a *aligner) align(src *source, new []byte) []stretch {
	a.src, a.new, a.out, a.again, a.lostTo = src, new, a.out[:0], 0, 0
	from, old := 0, src.next // the alignment at hand begins at from, beside old
	for scan := 0; scan < len(new); {
		var found int64
		scan, found = a.change(from, scan, old)
		lenF := a.forward(from, scan, old)
		lenB := 0
		if found != none {
			lenB = a.backward(from, scan, found)
		}
		if both := from + lenF - (scan - lenB); both > 0 {
			keep := a.divide(scan-lenB, both, old+int64(scan-lenB-from), found-int64(lenB))
			lenF -= both - keep
			lenB -= keep
		}
		a.emit(lenF, old)
		a.emit(scan-lenB-from-lenF, none)
		if found == none {
			break
		}
		from, old = scan-lenB, found-int64(lenB)
	}
	src.next = none
	if old != none {
		src.next = old + int64(len(new)-from)
	}
	if src.end != none {
		src.end += int64(len(new))
	}
	return a.out
}

// emit adds a stretch.
func (a *aligner) emit(n int, old int64) {
	if n == 0 {
		return
	}
	if n < shortest {
		old = none
	}
	// The last alignment's rest and bytes before a new one that are like nothing.
	if last := len(a.out) - 1; old == none && last >= 0 && a.out[last].old == none {
		a.out[last].n += n
		return
	}
	a.out = append(a.out, stretch{n, old})
}

// change returns where a better alignment than that of from beside old begins, from
// scan on, and the place that is beside it, or none at the end.
func (a *aligner) change(from, scan int, old int64) (int, int64) {
	for scan < len(a.new) {
		beside := int64(none)
		if old != none {
			beside = old + int64(scan-from)
			run := a.run(&a.cur, beside, scan)
			if run >= goodRun || scan+run == len(a.new) {
				scan += run
				continue
			}
			if n := a.resumes(beside, scan); n > 0 {
				scan += n
				continue
			}
		}
		if n := a.barren(scan, beside); n > 0 {
			scan += n
			continue
		}
		for _, place := range [2]func(int) int64{a.endsAlike, a.seeded} {
			if p := place(scan); p != none && p != beside && a.better(scan, p, beside) {
				return scan, p
			}
		}
		scan++
	}
	return scan, none
}

// barren is after how many new bytes there is something to look at next: a seed, or some
// equal bytes beside one of the places at hand. It may be fewer.
func (a *aligner) barren(scan int, beside int64) int {
	s := a.src.seeds
	if !a.src.full || s == nil {
		return 0
	}
	n := len(a.new) - scan - s.k
	var cur, end []byte
	if beside != none {
		cur = a.cur.after(beside)
		n = min(n, a.lostTo-scan, len(cur)-8)
	}
	if p := a.endsAlike(scan); p != none && p != beside {
		end = a.other.after(p)
		n = min(n, len(end)-8)
	}
	if n <= 0 {
		return 0
	}
	return s.barren(a.new[scan:], cur, end, n)
}

// resumes returns after how many new bytes the alignment at hand is right again, or 0 if
// that is not soon.
func (a *aligner) resumes(beside int64, scan int) int {
	if beside-int64(scan) == a.lost && scan < a.lostTo {
		return 0
	}
	past := pastFew
	if !a.src.full {
		past = pastMany
	}
	run := 0
	for i := 0; i < past+sure && scan+i < len(a.new); {
		old := a.cur.after(beside + int64(i))
		if len(old) == 0 {
			break
		}
		k := equalRun(old, a.new[scan+i:min(len(a.new), scan+past+sure)])
		i, run = i+k, run+k
		if run >= sure {
			return i - run
		}
		if k < len(old) {
			i, run = i+1, 0
		}
	}
	a.lost, a.lostTo = beside-int64(scan), scan+past/2
	return 0
}

// endsAlike is the place that is beside a new byte if both files end alike.
func (a *aligner) endsAlike(scan int) int64 {
	if a.src.end == none || a.src.end+int64(scan) < 0 {
		return none
	}
	return a.src.end + int64(scan)
}

// seeded is the place of a seed that a new byte begins, or none.
func (a *aligner) seeded(scan int) int64 {
	if !a.src.full {
		a.src.full = true
		if !a.src.fill() {
			a.src.seeds = nil
		}
	}
	if a.src.seeds == nil || scan+a.src.seeds.k > len(a.new) {
		return none
	}
	return a.src.seeds.at(a.new[scan:])
}

// better reports whether more of the next new bytes are equal beside p than beside
// the place of the alignment at hand.
func (a *aligner) better(scan int, p, beside int64) bool {
	w := a.other.after(p)
	if len(w) == 0 || w[0] != a.new[scan] {
		return false // most are told by this
	}
	if p-int64(scan) == a.refused && scan < a.again {
		return false
	}
	const least = 2 * goodRun
	n := 0
	for n < lookAhead {
		k := equalRun(a.other.after(p+int64(n)), a.new[scan+n:min(len(a.new), scan+lookAhead)])
		if k == 0 {
			break
		}
		n += k
	}
	if n < least && scan+n < len(a.new) {
		return false
	}
	have := 0
	if beside != none {
		have = a.equal(beside, scan, n)
	}
	if n > have+gain {
		return true
	}
	a.refused, a.again = p-int64(scan), scan+n/2
	return false
}

// run is the number of bytes that are equal beside a place.
func (a *aligner) run(w *window, at int64, scan int) int {
	n := 0
	for scan+n < len(a.new) {
		old := w.after(at + int64(n))
		k := equalRun(old, a.new[scan+n:])
		n += k
		if k == 0 || k < len(old) {
			break
		}
	}
	return n
}

// equal is how many of n new bytes are those beside a place.
func (a *aligner) equal(at int64, scan, n int) (count int) {
	for n > 0 {
		old := a.cur.after(at)
		if len(old) == 0 {
			return count
		}
		k := min(n, len(old))
		for i, b := range a.new[scan : scan+k] {
			if old[i] == b {
				count++
			}
		}
		at, scan, n = at+int64(k), scan+k, n-k
	}
	return count
}

// forward is how many new bytes of from to limit belong to an alignment: as many as
// make the number of equal ones exceed that of others the most.
func (a *aligner) forward(from, limit int, old int64) (best int) {
	if old == none {
		return 0
	}
	score, top := 0, 0
	for i := 0; from+i < limit; {
		w := a.cur.after(old + int64(i))
		if len(w) == 0 {
			break
		}
		k := equalRun(w, a.new[from+i:limit])
		i, score = i+k, score+k
		if score > top {
			top, best = score, i
		}
		if k < len(w) && from+i < limit {
			i, score = i+1, score-1
		}
	}
	return best
}

// backward is the same before scan, which is beside found.
func (a *aligner) backward(from, scan int, found int64) (best int) {
	score, top := 0, 0
	for i := 0; scan-i > from && i-best < lookBack; {
		w := a.other.before(found - int64(i))
		if len(w) == 0 {
			break
		}
		k := min(len(w), scan-i-from, lookBack)
		for j := 1; j <= k; j++ {
			i++
			if w[len(w)-j] != a.new[scan-i] {
				score--
				continue
			}
			if score++; score > top {
				top, best = score, i
			}
		}
	}
	return best
}

// divide says how many of n new bytes, which belong to two alignments, the first one
// should keep.
func (a *aligner) divide(at, n int, first, second int64) (keep int) {
	score, top := 0, 0
	for i := range n {
		p, q := a.cur.after(first+int64(i)), a.other.after(second+int64(i))
		if len(p) > 0 && p[0] == a.new[at+i] {
			score++
		}
		if len(q) > 0 && q[0] == a.new[at+i] {
			score--
		}
		if score > top {
			top, keep = score, i+1
		}
	}
	return keep
}
