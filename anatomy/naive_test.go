package anatomy_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/anatomy"
)

// This is what an image is in the plainest way: for each layer a map of what it has and one of what the image shows after
// it. All sums are taken by going through the maps.

// thing is a file: regular, a symbolic link or a directory. Names of one file point to the same thing.
type thing struct {
	kind  byte
	data  string
	layer int
}

func (n *thing) size() int64 {
	if n.kind != tar.TypeReg {
		return 0
	}
	return int64(len(n.data))
}

func (n *thing) isDir() bool { return n.kind == tar.TypeDir }

// naiveLayer is what a layer has, hides and shows.
type naiveLayer struct {
	own     map[string]*thing // what it has entries for
	implied map[string]bool   // directories without an entry
	gone    map[string]bool   // what it has whiteouts for
	opaque  map[string]bool
	after   map[string]*thing // what the image shows with it
	twice   anatomy.Tally
}

// naiveMark is what a layer did to a path.
type naiveMark struct {
	layer  int
	action anatomy.Action
	thing  *thing // nil if deleted
}

type naive struct {
	r      *rand.Rand
	layers []*naiveLayer
	tars   [][]byte
	marks  map[string][]naiveMark
	odd    map[string]bool // paths that were ever hidden, or no directory
	tw     *tar.Writer
}

// newNaive makes an image of random layers.
func newNaive(seed uint64) *naive {
	r := rand.New(rand.NewPCG(seed, 1))
	m := &naive{r: r, marks: map[string][]naiveMark{}, odd: map[string]bool{}}
	for range 1 + r.IntN(5) {
		m.layer()
	}
	return m
}

func (m *naive) before() map[string]*thing {
	if len(m.layers) < 2 {
		return nil
	}
	return m.layers[len(m.layers)-2].after
}

func (m *naive) layer() {
	l := &naiveLayer{own: map[string]*thing{}, implied: map[string]bool{}, gone: map[string]bool{}, opaque: map[string]bool{}}
	m.layers = append(m.layers, l)
	var b bytes.Buffer
	m.tw = tar.NewWriter(&b)
	for range m.r.IntN(14) {
		m.entry(l)
	}
	if m.r.IntN(8) == 0 { // wide
		dir := m.path()
		for i := range 20 + m.r.IntN(30) {
			m.put(l, fmt.Sprintf("%s/w%d", dir, i), tar.TypeReg)
		}
	}
	must(m.tw.Close())
	m.tars = append(m.tars, b.Bytes())
	m.settle(l)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (m *naive) path() string {
	n := 1 + m.r.IntN(3)
	if m.r.IntN(20) == 0 { // deep
		n = 40
	}
	parts := make([]string, n)
	for i := range parts {
		parts[i] = string("abcd"[m.r.IntN(4)])
	}
	return strings.Join(parts, "/")
}

// entry writes an entry of some kind, if there can be one.
func (m *naive) entry(l *naiveLayer) {
	p := m.path()
	switch m.r.IntN(10) {
	case 0, 1:
		m.whiteout(l, p)
	case 2:
		m.put(l, p, tar.TypeDir)
	case 3:
		if m.put(l, p, tar.TypeDir) && !l.opaque[p] {
			l.opaque[p] = true
			m.write(&tar.Header{Typeflag: tar.TypeReg, Name: p + "/.wh..wh..opq"}, "")
		}
	case 4:
		m.put(l, p, tar.TypeSymlink)
	case 5, 6:
		m.link(l, p)
	default:
		m.put(l, p, tar.TypeReg)
	}
}

// free reports whether the layer can have a new file at a path: nothing of it is there, and no file above.
func (l *naiveLayer) free(p string) bool {
	if l.own[p] != nil || l.implied[p] || l.gone[p] {
		return false
	}
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if l.gone[d] || l.own[d] != nil && !l.own[d].isDir() {
			return false
		}
	}
	return true
}

// parents writes the directories on the way, or leaves out entries for those that lower layers always had.
func (m *naive) parents(l *naiveLayer, p string) {
	d := path.Dir(p)
	if d == "." || l.own[d] != nil || l.implied[d] {
		return
	}
	m.parents(l, d)
	if low := m.before()[d]; low != nil && low.isDir() && !m.odd[d] && m.r.IntN(3) == 0 {
		l.implied[d] = true
		return
	}
	m.own(l, d, &thing{kind: tar.TypeDir})
}

func (m *naive) own(l *naiveLayer, p string, n *thing) {
	n.layer = len(m.layers) - 1
	l.own[p] = n
	h := &tar.Header{Typeflag: n.kind, Name: p, Mode: 0o755, Size: n.size()}
	if n.kind == tar.TypeSymlink {
		h.Linkname = n.data
	}
	m.write(h, n.data[:n.size()])
}

func (m *naive) write(h *tar.Header, data string) {
	must(m.tw.WriteHeader(h))
	_, err := m.tw.Write([]byte(data))
	must(err)
}

func (m *naive) put(l *naiveLayer, p string, kind byte) bool {
	if !l.free(p) {
		return false
	}
	m.parents(l, p)
	n := &thing{kind: kind}
	if kind != tar.TypeDir {
		n.data = strings.Repeat("x", m.r.IntN(3)*100) + string("ab"[m.r.IntN(2)])
		if m.r.IntN(6) == 0 && kind == tar.TypeReg {
			n.data = ""
		}
	}
	if kind == tar.TypeReg && m.r.IntN(10) == 0 {
		m.own(l, p, &thing{kind: kind, data: "first"})
		count(&l.twice, len("first"))
	}
	m.own(l, p, n)
	return true
}

// link gives a file of the layer another name.
func (m *naive) link(l *naiveLayer, p string) {
	var of []string
	for q, n := range l.own {
		if n.kind == tar.TypeReg {
			of = append(of, q)
		}
	}
	if len(of) == 0 || !l.free(p) {
		return
	}
	slices.Sort(of)
	to := of[m.r.IntN(len(of))]
	m.parents(l, p)
	l.own[p] = l.own[to]
	m.write(&tar.Header{Typeflag: tar.TypeLink, Name: p, Linkname: to, Mode: 0o755}, "")
}

func (m *naive) whiteout(l *naiveLayer, p string) {
	if m.before()[p] == nil || !l.free(p) {
		return
	}
	for q := range l.own {
		if strings.HasPrefix(q, p+"/") {
			return
		}
	}
	for q := range l.implied {
		if strings.HasPrefix(q, p+"/") {
			return
		}
	}
	m.parents(l, p)
	l.gone[p] = true
	dir, base := path.Split(p)
	m.write(&tar.Header{Typeflag: tar.TypeReg, Name: dir + ".wh." + base}, "")
}

// hides reports whether the layer hides what lower layers have at a path.
func (l *naiveLayer) hides(p string) bool {
	if l.gone[p] {
		return true
	}
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if l.gone[d] || l.opaque[d] || l.own[d] != nil && !l.own[d].isDir() {
			return true
		}
	}
	return false
}

// settle finds what the image shows with the layer, and what the layer did.
func (m *naive) settle(l *naiveLayer) {
	before := m.before()
	l.after = map[string]*thing{}
	for p, n := range before {
		if l.hides(p) {
			m.odd[p] = true
		} else {
			l.after[p] = n
		}
	}
	for p, n := range l.own {
		if !n.isDir() {
			m.odd[p] = true
		}
		l.after[p] = n
	}
	for p := range l.implied {
		l.after[p] = before[p]
	}
	all := maps.Clone(before)
	if all == nil {
		all = map[string]*thing{}
	}
	maps.Copy(all, l.after)
	for p := range all {
		if action, ok := l.did(before[p], p); ok {
			m.marks[p] = append(m.marks[p], naiveMark{len(m.layers) - 1, action, l.after[p]})
		}
	}
}

func (l *naiveLayer) did(old *thing, p string) (anatomy.Action, bool) {
	now := l.own[p]
	switch {
	case l.implied[p]:
		return anatomy.Passed, true
	case now == nil && l.after[p] == nil:
		return anatomy.Deleted, true
	case now == nil:
		return 0, false
	case old == nil:
		return anatomy.Added, true
	case old.kind == now.kind && old.data == now.data:
		return anatomy.Restored, true
	}
	return anatomy.Replaced, true
}

// inOrder are the paths of a map in the order of a walk: by one name after the other.
func inOrder[V any](files map[string]V) []string {
	return slices.SortedFunc(maps.Keys(files), func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
}

// below sums up what is below each directory of some files; "" is the root. A thing counts for its first name.
func below(files map[string]*thing) map[string]anatomy.Tally {
	sums := map[string]anatomy.Tally{"": {}}
	seen := map[*thing]bool{}
	for _, p := range inOrder(files) {
		n := files[p]
		if n.isDir() {
			sums[p] = anatomy.Tally{Files: sums[p].Files, Bytes: sums[p].Bytes}
			continue
		}
		size := n.size()
		if seen[n] {
			size = 0
		}
		seen[n] = true
		for d := path.Dir(p); ; d = path.Dir(d) {
			d = strings.TrimPrefix(d, ".")
			t := sums[d]
			count(&t, int(size))
			sums[d] = t
			if d == "" {
				break
			}
		}
	}
	return sums
}
