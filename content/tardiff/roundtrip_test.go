package tardiff_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/veneer-build/veneer/content/tardiff"
)

// edit is what may happen to a file from one image to the next.
func edit(r *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + r.IntN(4) {
		at := r.IntN(len(b) + 1)
		n := min(len(b)-at, r.IntN(1+len(b)/4))
		switch r.IntN(7) {
		case 0: // some bytes here and there, as addresses in a program
			for i := at; i < at+n; i += 1 + r.IntN(40) {
				b[i] += byte(r.IntN(3))
			}
		case 1:
			b = slices.Insert(b, at, random(r, r.IntN(5000))...)
		case 2:
			b = slices.Delete(b, at, at+n)
		case 3: // moved
			piece := slices.Clone(b[at : at+n])
			b = slices.Delete(b, at, at+n)
			b = slices.Insert(b, r.IntN(len(b)+1), piece...)
		case 4:
			b = append(b, b[at:at+n]...)
		case 5:
			copy(b[at:at+n], random(r, n))
		case 6:
			b = append(b[:at:at], make([]byte, r.IntN(10000))...)
		}
	}
	return b
}

// content is a new file's.
func content(r *rand.Rand) []byte {
	n := r.IntN(1 << (4 + r.IntN(15)))
	switch r.IntN(4) {
	case 0:
		return random(r, n)
	case 1:
		return make([]byte, n)
	}
	return words(r, n)
}

// randomTree is some files.
func randomTree(r *rand.Rand, dir string) memTree {
	m := memTree{}
	for i := range r.IntN(20) {
		m[fmt.Sprintf("%s%d/lib-1.%d.so", dir, r.IntN(3), i)] = content(r)
	}
	return m
}

// nextLayer is the tar of a layer upon a tree: files as they were, edited, renamed,
// new; links, whiteouts, other types in a file's place, odd modes.
func nextLayer(t *testing.T, r *rand.Rand, old memTree) []byte {
	var es []entry
	name := ""
	for _, p := range slices.Sorted(maps.Keys(old)) {
		e := regular(p, old[p])
		switch r.IntN(12) {
		case 0, 1:
		case 2, 3, 4:
			e.content = edit(r, old[p])
		case 5:
			e.Name = strings.ReplaceAll(p, "1.", "2.")
			e.content = edit(r, old[p])
		case 6:
			e.Name = "moved/" + filepath.Base(p) + strings.Repeat("long", r.IntN(80))
		case 7:
			e = entry{tar.Header{Name: p, Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, nil}
		case 8:
			e = entry{tar.Header{Name: filepath.Dir(p) + "/.wh." + filepath.Base(p), Typeflag: tar.TypeReg}, nil}
		case 9:
			e = entry{tar.Header{Name: filepath.Dir(p) + "/.wh..wh..opq", Typeflag: tar.TypeReg}, nil}
		case 10:
			e.Mode, e.Uid, e.PAXRecords = 0o400, 1<<25, map[string]string{"SCHILY.xattr.user.a": "b"}
		case 11:
			if name != "" {
				e = entry{tar.Header{Name: p, Typeflag: tar.TypeLink, Linkname: name}, nil}
			}
		}
		name = e.Name
		es = append(es, e)
		if r.IntN(5) == 0 {
			es = append(es, regular("./new/"+p, content(r)), entry{tar.Header{Name: "dir/", Typeflag: tar.TypeDir}, nil})
		}
	}
	return tarOf(t, append(es, regular("/abs", content(r)), regular("last", content(r)))...)
}

// TestRoundTrip: of random trees and edits, the delta makes the tar again to the bit, and is no larger than the tar
// alone, but for some bytes.
func TestRoundTrip(t *testing.T) {
	seeds := uint64(30)
	if os.Getenv("VENEER_SOAK") != "" {
		seeds = 2000
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 17))
		old := randomTree(r, "usr/lib")
		if r.IntN(3) == 0 { // of several images
			maps.Copy(old, randomTree(r, "opt"))
		}
		next := nextLayer(t, r, old)
		delta, _ := roundTrip(t, next, old)
		if seed%5 > 0 {
			continue
		}
		if again, _ := makeDelta(t, next, old); !bytes.Equal(delta, again) {
			t.Errorf("seed %d: another delta the second time", seed)
		}
		alone, _ := makeDelta(t, next, memTree{})
		if len(delta) > len(alone)+1000 {
			t.Errorf("seed %d: %d bytes, and %d without old files", seed, len(delta), len(alone))
		}
	}
}

// TestLargeFiles: files of several segments, with changes in and across their borders.
func TestLargeFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 17))
	was := random(r, 5<<20)
	insert := random(r, 100_000)
	small := func(extra int) int { return extra + 20_000 }
	for what, c := range map[string]struct {
		next []byte
		most int // bytes of the delta
	}{
		"the same":         {was, small(0)},
		"inserted":         {slices.Concat(was[:3<<20], insert, was[3<<20:]), small(len(insert))},
		"inserted at 0":    {slices.Concat(insert, was), small(len(insert))},
		"appended":         {slices.Concat(was, insert), small(len(insert))},
		"cut at the front": {was[2_000_001:], small(0)},
		"cut at the end":   {was[:2_000_001], small(0)},
		"halves changed":   {slices.Concat(was[3<<20:], was[:3<<20]), small(0)},
		"twice":            {slices.Concat(was, was), small(0)},
	} {
		t.Run(what, func(t *testing.T) {
			delta, made := roundTrip(t, tarOf(t, regular("model", c.next)), memTree{"model": was})
			if len(delta) > c.most || !slices.Equal(made.Sources, []string{"model"}) {
				t.Errorf("the delta has %d bytes, more than %d; %+v", len(delta), c.most, made)
			}
		})
	}
}

// TestFindsSources: each of the ways to find what a file was made from.
func TestFindsSources(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 17))
	was := random(r, 200_000)
	next := slices.Concat(was[:90_000], []byte("changed"), was[90_000:])
	other := memTree{"a/index.js": random(r, 100_000), "z/index.js": random(r, 300_000), "lib9": random(r, 200_000)}
	for what, c := range map[string]struct {
		was, next string
		content   []byte
		whole     bool
	}{
		"same path":      {was: "a/b/c", next: "a/b/c", content: next},
		"same content":   {was: "a/b/c", next: "x/y", content: was, whole: true},
		"same name":      {was: "m/index.js", next: "n/index.js", content: next},
		"name's version": {was: "lib/libx.so.1.2.3", next: "lib/libx.so.1.10", content: next},
		"any file":       {was: "blob", next: "completely/different", content: next},
		"absolute":       {was: "a/b", next: "/a/b", content: next},
		"dot":            {was: "a/b", next: "./a/b", content: next},
	} {
		t.Run(what, func(t *testing.T) {
			old := maps.Clone(other)
			old[c.was] = was
			delta, made := roundTrip(t, tarOf(t, regular(c.next, c.content)), old)
			if len(delta) > 2000 || !slices.Equal(made.Sources, []string{c.was}) {
				t.Errorf("%d bytes, of %q", len(delta), made.Sources)
			}
			if c.whole != (made.Whole == int64(len(was))) {
				t.Errorf("%+v", made)
			}
		})
	}
}

// TestProgram: what moved in a program changes addresses everywhere. Aligned differences are a fraction of what finding
// equal pieces gives.
func TestProgram(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 17))
	code := random(r, 400_000)
	next := slices.Clone(code)
	for i := 20; i+4 < len(next); i += 24 + r.IntN(16) {
		next[i] += 0x40 // an address that moved
	}
	delta, _ := roundTrip(t, tarOf(t, regular("bin/x", next)), memTree{"bin/x": code})
	if len(delta) > len(code)/15 {
		t.Errorf("%d bytes for %d", len(delta), len(code))
	}
}

// TestNoTar: what is no tar, or is cut off, is taken as it is.
func TestNoTar(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 17))
	was := random(r, 100_000)
	old := memTree{"f": was}
	whole := tarOf(t, regular("f", was), regular("g", was[:1000]))
	for _, n := range []int{0, 1, 511, 512, 513, 600, 50_000, 100_511, 100_512, 100_900, 102_000, len(whole) - 1} {
		roundTrip(t, whole[:n], old)
	}
	roundTrip(t, random(r, 100_000), old)
	roundTrip(t, append(slices.Clone(whole), random(r, 3000)...), old)
	roundTrip(t, append(slices.Clone(whole), whole...), old)
	bad := slices.Clone(whole)
	bad[100]++
	roundTrip(t, bad, old)
}

// TestSparse: of a sparse file the tar has fewer bytes than a reader of it gets.
func TestSparse(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 17))
	piece := random(r, 64<<10)
	for _, at := range []int64{0, 3 << 20, 9 << 20} {
		if _, err := f.WriteAt(piece, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "pax"} {
		out, err := exec.CommandContext(t.Context(), "tar", "--sparse", "--format="+format, "-C", dir, "-c", "sparse").Output()
		if err != nil {
			t.Skipf("tar --sparse: %v", err)
		}
		if len(out) > 1<<20 {
			t.Skip("the file system of TMPDIR keeps no holes")
		}
		roundTrip(t, out, memTree{"sparse": piece})
	}
}

// TestOddTrees: trees of which nothing, or not all, can be used.
func TestOddTrees(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 17))
	b := random(r, 5000)
	next := tarOf(t, regular("f", b))
	delta, _ := roundTrip(t, next, memTree{"../f": b, "/f": b, "a//f": b, ".": b, "": b, "a\x00": b, strings.Repeat("a/", 2048) + "f": b, "empty": nil})
	if len(delta) < len(b) {
		t.Error("a file was used that Apply refuses")
	}
	many := memTree{"f": b}
	for i := range 20_000 { // equal sizes and names
		many[fmt.Sprintf("m/%d/index.js", i)] = fmt.Appendf(nil, "content %d %d", i, i)
	}
	roundTrip(t, tarOf(t, regular("f", b), regular("n/index.js", []byte("content 7 8"))), many)
}

// TestSourceFails: a file that cannot be read, or is another length, is named.
func TestSourceFails(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 17))
	b := random(r, 5000)
	next := tarOf(t, regular("f", b))
	old := lying{memTree{"f": b[:4000]}, map[string]int64{"f": 5000}}
	_, err := tardiff.Make(t.Context(), bytes.NewReader(next), old, &bytes.Buffer{})
	wantSource(t, err, "f", tardiff.ErrChanged)
	old = lying{memTree{}, map[string]int64{"f": 5000}}
	_, err = tardiff.Make(t.Context(), bytes.NewReader(next), old, &bytes.Buffer{})
	wantSource(t, err, "f", os.ErrNotExist)
}

// lying is a tree that lists other files than it has.
type lying struct {
	memTree
	list map[string]int64
}

// Files implements [tardiff.Tree].
func (l lying) Files(f func(string, int64) error) error {
	for p, n := range l.list {
		if err := f(p, n); err != nil {
			return err
		}
	}
	return nil
}

// TestOld: of several tars, the deltas are those that are made one by one, and the costs of files are told.
func TestOld(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 17))
	tree := randomTree(r, "usr/lib")
	tree["large"] = random(r, 300_000)
	old, err := tardiff.NewOld(tree)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	for i := range 50 { // Each looks at some blocks, of which there are 128.
		next := nextLayer(t, r, tree)
		want, made := makeDelta(t, next, tree)
		var got bytes.Buffer
		costs := map[string]int64{}
		again, err := old.Make(t.Context(), bytes.NewReader(next), &got, func(path string, _, bytes int64) { costs[path] += bytes })
		if err != nil || !bytes.Equal(got.Bytes(), want) || !slices.Equal(again.Sources, made.Sources) || again.Size != made.Size {
			t.Fatalf("delta %d has %d bytes, alone %d; %v", i, got.Len(), len(want), err)
		}
		if costs[""] <= 0 || costs["last"] < 0 {
			t.Errorf("delta %d costs %v", i, costs)
		}
		if i%5 == 0 { // One that breaks off does no harm.
			failed := errors.New("failed")
			if _, err := old.Make(t.Context(), io.MultiReader(bytes.NewReader(next[:len(next)/2]), iotest.ErrReader(failed)), io.Discard, nil); !errors.Is(err, failed) {
				t.Errorf("a tar that breaks off: %v", err)
			}
		}
	}
}
