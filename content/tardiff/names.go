package tardiff

import (
	"hash/maphash"
	"path"
	"strings"
)

// maxLike is the number of files of one name, or of one size, that are looked at for
// the best one.
const maxLike = 64

// names finds old files by what a new one is called, and by its size.
type names struct {
	s                         *space
	seed                      maphash.Seed
	paths, bases, plain, size chains
}

// chains are lists of files by a number.
type chains struct {
	head []int32 // by the lowest bits of the number: a file, counted from 1
	next []int32 // by the file
}

func newChains(files int) chains {
	n := 1
	for n < files {
		n *= 2
	}
	return chains{make([]int32, n), make([]int32, files)}
}

func (c *chains) add(key uint64, file int) {
	h := &c.head[key&uint64(len(c.head)-1)] //nolint:gosec // a length
	c.next[file], *h = *h, int32(file+1)    //nolint:gosec // at most maxFiles
}

// each calls f with files of a number, and few of others, until it returns false.
func (c *chains) each(key uint64, f func(file int) bool) {
	for i := c.head[key&uint64(len(c.head)-1)]; i != 0 && f(int(i-1)); i = c.next[i-1] { //nolint:gosec // a length
	}
}

func newNames(s *space) *names {
	n := &names{s: s, seed: maphash.MakeSeed()}
	for _, c := range []*chains{&n.paths, &n.bases, &n.plain, &n.size} {
		*c = newChains(len(s.files))
	}
	// Of equals the first one is found first.
	for i := len(s.files) - 1; i >= 0; i-- {
		p := s.path(i)
		base := path.Base(p)
		n.paths.add(n.key(p), i)
		n.bases.add(n.key(base), i)
		n.plain.add(n.key(withoutDigits(base)), i)
		n.size.add(maphash.Comparable(n.seed, s.files[i].size), i)
	}
	return n
}

func (n *names) key(s string) uint64 { return maphash.String(n.seed, s) }

// withoutDigits is a name with one sign in place of each number, such as a version.
func withoutDigits(name string) string {
	var b strings.Builder
	number := false
	for i := range len(name) {
		c := name[i]
		if c >= '0' && c <= '9' || number && c == '.' {
			if !number {
				b.WriteByte('#')
			}
			number = true
			continue
		}
		number = false
		b.WriteByte(c)
	}
	return b.String()
}

// samePath returns the file of a path, or none.
func (n *names) samePath(p string) int {
	found := none
	n.paths.each(n.key(p), func(file int) bool {
		if n.s.path(file) == p {
			found = file
		}
		return found == none
	})
	return found
}

// sameContent returns a file of a content, or none.
func (n *names) sameContent(p string, content []byte) int {
	size, hash := int64(len(content)), uint64(0)
	is := func(file int) bool {
		if hash == 0 {
			hash = n.s.hashOf(content)
		}
		return n.s.files[file].size == size && n.s.hash(file) == hash && n.s.holds(file, content)
	}
	if same := n.samePath(p); same != none && is(same) {
		return same
	}
	found, left := none, maxLike
	n.size.each(maphash.Comparable(n.seed, size), func(file int) bool {
		if n.s.files[file].size != size {
			return true
		}
		if is(file) {
			found = file
		}
		left--
		return found == none && left > 0
	})
	return found
}

// like returns the file that a new one is likely to be made from, by its path and
// size, or none.
func (n *names) like(p string, size int64) int {
	if same := n.samePath(p); same != none && comparable(n.s.files[same].size, size) {
		return same
	}
	base := path.Base(p)
	if file := n.best(&n.bases, n.key(base), p, size, func(old string) bool { return old == base }); file != none {
		return file
	}
	plain := withoutDigits(base)
	return n.best(&n.plain, n.key(plain), p, size, func(old string) bool { return withoutDigits(old) == plain })
}

// best returns the file of a list that has most of a path's directories in common,
// and of these the one whose size is nearest.
func (n *names) best(c *chains, key uint64, p string, size int64, named func(base string) bool) int {
	best, top, left := none, int64(-1), maxLike
	c.each(key, func(file int) bool {
		old, oldSize := n.s.path(file), n.s.files[file].size
		if !named(path.Base(old)) {
			return true
		}
		if comparable(oldSize, size) {
			score := int64(commonParts(old, p))*1000 + 999*min(oldSize, size)/max(oldSize, size)
			if score > top {
				best, top = file, score
			}
		}
		left--
		return left > 0
	})
	return best
}

// comparable reports whether one of two sizes may be that of a version of the other.
func comparable(a, b int64) bool {
	const some = 64 << 10
	return a <= 10*b+some && b <= 10*a+some
}

// commonParts is how many directories two paths have in common, those at the end
// counted twice.
func commonParts(a, b string) (n int) {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	for len(x) > 0 && len(y) > 0 && x[0] == y[0] {
		x, y = x[1:], y[1:]
		n++
	}
	for len(x) > 0 && len(y) > 0 && x[len(x)-1] == y[len(y)-1] {
		x, y = x[:len(x)-1], y[:len(y)-1]
		n += 2
	}
	return n
}
