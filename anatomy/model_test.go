package anatomy_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"pgregory.net/rapid"

	"github.com/veneer-build/veneer/anatomy"
	"github.com/veneer-build/veneer/differ/tree/index"
)

// model is what layers make, in the plainest way: files by path.
type model struct {
	files map[string]stored // regular files that are shown
	dirs  map[string]bool
	// layers are what each of them stores and does, and waste what is hidden.
	layers                      []anatomy.Layer
	replaced, deleted, restored anatomy.Tally
	largestHidden               int64
}

type stored struct {
	layer int
	data  string
	mode  int64
}

func count(t *anatomy.Tally, n int) {
	t.Files++
	t.Bytes += int64(n)
}

// write is an entry for a regular file.
func (m *model) write(p string, s stored) {
	l := &m.layers[s.layer]
	count(&l.Unpacked, len(s.data))
	old, there := m.files[p]
	switch {
	case !there && m.dirs[p]:
		m.drop(p, s.layer)
		count(&l.Replaced, len(s.data))
	case !there:
		count(&l.Added, len(s.data))
	case old.data == s.data:
		count(&l.Restored, len(s.data))
		m.hide(&m.restored, old)
	default:
		count(&l.Replaced, len(s.data))
		m.hide(&m.replaced, old)
	}
	m.files[p] = s
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		m.dirs[d] = true
	}
}

func (m *model) hide(t *anatomy.Tally, old stored) {
	count(t, len(old.data))
	count(&m.layers[old.layer].Hidden, len(old.data))
	m.largestHidden = max(m.largestHidden, int64(len(old.data)))
}

// drop removes what is at a path and below it.
func (m *model) drop(p string, layer int) {
	for q, s := range maps.Clone(m.files) {
		if q == p || strings.HasPrefix(q, p+"/") {
			m.hide(&m.deleted, s)
			count(&m.layers[layer].Deleted, len(s.data))
			delete(m.files, q)
		}
	}
	for d := range maps.Clone(m.dirs) {
		if d == p || strings.HasPrefix(d, p+"/") {
			delete(m.dirs, d)
		}
	}
}

func (m *model) shown() (t anatomy.Tally) {
	for _, s := range m.files {
		count(&t, len(s.data))
	}
	return t
}

// below counts what is shown, or what one layer has of it, below a directory.
func (m *model) below(dir string, layer int) (t anatomy.Tally) {
	for p, s := range m.files {
		if (dir == "" || strings.HasPrefix(p, dir+"/")) && (layer < 0 || s.layer == layer) {
			count(&t, len(s.data))
		}
	}
	return t
}

// stack is a model and the layers that make it.
func stack(r *rand.Rand, layers int) (*model, [][]byte) {
	m := &model{files: map[string]stored{}, dirs: map[string]bool{}}
	var tars [][]byte
	for i := range layers {
		m.layers = append(m.layers, anatomy.Layer{})
		w := &layerWriter{model: m, at: i, r: r, used: map[string]bool{}, dirs: map[string]bool{}}
		tars = append(tars, w.layer())
	}
	return m, tars
}

type layerWriter struct {
	model *model
	at    int
	r     *rand.Rand
	used  map[string]bool // paths that the layer has something at, and their parents
	dirs  map[string]bool // directories that it has entries for
	tw    *tar.Writer
}

func (w *layerWriter) layer() []byte {
	var b bytes.Buffer
	w.tw = tar.NewWriter(&b)
	for range 1 + w.r.IntN(12) {
		p := w.path()
		if w.r.IntN(3) == 0 && w.at > 0 {
			w.whiteout(p)
			continue
		}
		w.file(p)
	}
	if err := w.tw.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (w *layerWriter) path() string {
	var parts []string
	for range 1 + w.r.IntN(3) {
		parts = append(parts, string(rune('a'+w.r.IntN(4))))
	}
	return strings.Join(parts, "/")
}

// free reports whether the layer has nothing at, above or below a path: what a layer says twice depends on the order.
func (w *layerWriter) free(p string) bool {
	for q := range w.used {
		if q == p || strings.HasPrefix(q, p+"/") || strings.HasPrefix(p, q+"/") {
			return false
		}
	}
	w.used[p] = true
	return true
}

func (w *layerWriter) file(p string) {
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if _, file := w.model.files[d]; file {
			return
		}
	}
	if !w.free(p) {
		return
	}
	s := stored{w.at, strings.Repeat("x", w.r.IntN(3)*100) + string(rune('0'+w.r.IntN(2))), int64(0o600 + w.r.IntN(2))}
	w.parents(p)
	w.model.write(p, s)
	w.entry(p, s)
}

// parents writes entries for the directories on the way. Containerd makes those that lack one like those of lower
// layers, hidden ones too, and fails on a file there.
func (w *layerWriter) parents(p string) {
	dir := path.Dir(p)
	if dir == "." || w.dirs[dir] {
		return
	}
	w.parents(dir)
	w.dirs[dir] = true
	w.model.layers[w.at].Dirs++
	if err := w.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
		panic(err)
	}
}

func (w *layerWriter) whiteout(p string) {
	if _, file := w.model.files[p]; !file && !w.model.dirs[p] || !w.free(p) {
		return
	}
	w.model.drop(p, w.at)
	dir, base := path.Split(p)
	w.entry(dir+".wh."+base, stored{})
}

func (w *layerWriter) entry(p string, s stored) {
	if err := w.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: p, Mode: s.mode, Size: int64(len(s.data))}); err != nil {
		panic(err)
	}
	if _, err := w.tw.Write([]byte(s.data)); err != nil {
		panic(err)
	}
}

func sources(t interface{ Fatal(...any) }, tars [][]byte) []anatomy.Source {
	var all []anatomy.Source
	for _, data := range tars {
		x, err := index.ScanPacked(context.Background(), bytes.NewReader(data), nil)
		if err != nil {
			t.Fatal(err)
		}
		d := digest.FromBytes(data)
		all = append(all, anatomy.Source{Desc: ocispec.Descriptor{Digest: d, Size: int64(len(data))}, DiffID: d, Index: x})
	}
	return all
}

func imageOf(t interface{ Fatal(...any) }, tars [][]byte) *anatomy.Image {
	img, err := anatomy.New(context.Background(), sources(t, tars))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestModel holds random stacks against the model: every sum of layers, views and waste.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		m, tars := stack(r, 1+r.IntN(4))
		img := imageOf(rt, tars)
		same := func(what string, got, want any) {
			if got != want {
				rt.Fatalf("%s: %v, want %v", what, got, want)
			}
		}
		same("shown", img.Shown, m.shown())
		same("dirs", img.ShownDirs, int64(len(m.dirs)))
		for i, want := range m.layers {
			l := img.Layers[i]
			l.Desc, l.DiffID, l.Stored = want.Desc, "", 0
			same(fmt.Sprint("layer ", i), fmt.Sprintf("%+v", l), fmt.Sprintf("%+v", want))
			same("view of a layer", img.Layer(i).Tally(img.Root), want.Unpacked)
		}
		whole := img.Whole()
		for d := range m.dirs {
			same(d, whole.Tally(img.File(d)), m.below(d, -1))
		}
		w := waste(rt, img, 1)
		same("replaced", w.Replaced, m.replaced)
		same("deleted", w.Deleted, m.deleted)
		same("restored", w.Restored, m.restored)
		if m.largestHidden > 0 {
			same("largest hidden", w.Files[0].Stored.Size(), m.largestHidden)
		}
		same("copies", w.Copies, m.copies())
		same("largest", sizes(whole, whole.Largest(5)), m.largest(5))
		checkFold(rt, img, whole.Fold(1+r.IntN(12)), m)
		checkMarks(rt, img, m)
	})
}

func (m *model) copies() (t anatomy.Tally) {
	seen := map[string]bool{}
	for _, s := range m.files {
		if seen[s.data] {
			count(&t, len(s.data))
		}
		seen[s.data] = true
	}
	return t
}

func sizes(v *anatomy.View, files []*anatomy.File) string {
	var all []int64
	for _, f := range files {
		all = append(all, v.Tally(f).Bytes)
	}
	return fmt.Sprint(all)
}

func (m *model) largest(n int) string {
	var all []int64
	for _, s := range m.files {
		all = append(all, int64(len(s.data)))
	}
	slices.Sort(all)
	slices.Reverse(all)
	return fmt.Sprint(all[:min(n, len(all))])
}

func checkFold(t *rapid.T, img *anatomy.Image, b *anatomy.Box, m *model) {
	if b.Tally != m.shown() {
		t.Fatalf("the box has %v, and the image %v", b.Tally, m.shown())
	}
	var check func(p string, b *anatomy.Box)
	check = func(p string, b *anatomy.Box) {
		sum := b.Rest
		for _, c := range b.Boxes {
			sum.Files += c.Files
			sum.Bytes += c.Bytes
			if at := path.Join(p, c.Name); c.Tally != img.Whole().Tally(img.File(at)) {
				t.Fatalf("%s: %v", at, c.Tally)
			}
			check(path.Join(p, c.Name), c)
		}
		if b.Dir && sum != b.Tally {
			t.Fatalf("%s: boxes have %v, and the directory %v", p, sum, b.Tally)
		}
	}
	check("", b)
}

// checkMarks looks for who put each file there.
func checkMarks(t *rapid.T, img *anatomy.Image, m *model) {
	for p, s := range m.files {
		f := img.File(p)
		if f == nil || f.Path() != "/"+p {
			t.Fatalf("%s is not there: %v", p, f)
		}
		marks := slices.Collect(f.Marks())
		if last := marks[len(marks)-1]; last.Layer != int32(s.layer) || last.Size() != int64(len(s.data)) || last.Action == anatomy.Deleted {
			t.Fatalf("%s: %+v, want layer %d", p, last, s.layer)
		}
	}
	img.Walk(func(f *anatomy.File, _ int) bool {
		_, shown := m.files[strings.TrimPrefix(f.Path(), "/")]
		mark, ok := img.Whole().Mark(f)
		if shown != (ok && !mark.IsDir()) {
			t.Fatalf("%s: %+v", f.Path(), mark)
		}
		return true
	})
}

// TestCompareModel holds what differs between two stacks against their models.
func TestCompareModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		m, tars := stack(r, 1+r.IntN(3))
		n, others := stack(r, 1+r.IntN(3))
		var want anatomy.Change
		for p, s := range n.files {
			switch old, ok := m.files[p]; {
			case !ok:
				count(&want.Added, len(s.data))
			case old.data != s.data:
				count(&want.Replaced, len(s.data))
			case old.mode != s.mode:
				count(&want.Metadata, len(s.data))
			}
		}
		for p, s := range m.files {
			if _, ok := n.files[p]; !ok {
				count(&want.Removed, len(s.data))
			}
		}
		for d := range n.dirs {
			if !m.dirs[d] {
				want.Dirs++
			}
		}
		for d := range m.dirs {
			if !n.dirs[d] {
				want.Dirs++
			}
		}
		got := compare(rt, imageOf(rt, tars), imageOf(rt, others), 1000)
		if got.Added != want.Added || got.Replaced != want.Replaced || got.Metadata != want.Metadata || got.Removed != want.Removed || got.Dirs != want.Dirs {
			rt.Fatalf("%+v\nwant %+v", got, want)
		}
		if all := want.Thin().Files + want.Removed.Files + want.Dirs; int64(len(got.Files)) != all {
			rt.Fatalf("%d files are listed, want %d", len(got.Files), all)
		}
		for _, f := range got.Files {
			if (f.New == nil) != (f.Kind == anatomy.Deleted) || (f.Old == nil) != (f.Kind == anatomy.Added) {
				rt.Fatalf("%+v", f)
			}
		}
	})
}

// TestGNUTar holds a layer's sums against GNU tar's listing of it.
func TestGNUTar(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	_, tars := stack(r, 4)
	img := imageOf(t, tars)
	for i, data := range tars {
		cmd := exec.CommandContext(t.Context(), "tar", "-tvf", "-")
		cmd.Stdin = bytes.NewReader(data)
		out, err := cmd.Output()
		if err != nil {
			t.Skip("no tar command: ", err)
		}
		var want anatomy.Tally
		for line := range strings.Lines(string(out)) {
			fields := strings.Fields(line)
			if size, err := strconv.Atoi(fields[2]); err == nil && fields[0][0] == '-' && !strings.Contains(line, ".wh.") {
				count(&want, size)
			}
		}
		if got := img.Layers[i].Unpacked; got != want || want.Files == 0 {
			t.Errorf("layer %d: %v, and tar lists %v", i, got, want)
		}
	}
}
