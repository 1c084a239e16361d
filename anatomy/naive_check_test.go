package anatomy_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/anatomy"
)

// TestNaive holds random images, with whiteouts, opaque directories, hard links, other types of files, deep and wide ones,
// against the plainest model of them. VENEER_SOAK=1 tries more.
func TestNaive(t *testing.T) {
	images := uint64(300)
	if os.Getenv("VENEER_SOAK") == "1" {
		images = 30_000
	}
	for seed := range images {
		m := newNaive(seed)
		c := &checker{t: t, seed: seed, m: m, img: imageOf(t, m.tars)}
		c.layers()
		c.views()
		c.waste()
		c.marks()
		if t.Failed() {
			return
		}
	}
}

type checker struct {
	t    *testing.T
	seed uint64
	m    *naive
	img  *anatomy.Image
}

func (c *checker) same(what string, got, want any) {
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		c.t.Errorf("image %d: %s: %+v, want %+v", c.seed, what, got, want)
	}
}

func (c *checker) shown() map[string]*thing { return c.m.layers[len(c.m.layers)-1].after }

// stored are the sums of what each layer has, and does.
func (c *checker) stored() []anatomy.Layer {
	want := make([]anatomy.Layer, len(c.m.layers))
	shown := map[*thing]bool{}
	for _, n := range c.shown() {
		shown[n] = true
	}
	for i, l := range c.m.layers {
		w := &want[i]
		w.Twice = l.twice
		counted := map[*thing]bool{}
		for _, p := range inOrder(l.own) {
			n := l.own[p]
			if n.isDir() {
				w.Dirs++
				continue
			}
			size := int(n.size())
			if counted[n] {
				size = 0
			}
			counted[n] = true
			count(&w.Unpacked, size)
			action, _ := l.did(c.below(i)[p], p)
			count(map[anatomy.Action]*anatomy.Tally{anatomy.Added: &w.Added, anatomy.Replaced: &w.Replaced, anatomy.Restored: &w.Restored}[action], size)
			if c.shown()[p] != n {
				w.Hidden.Files++
			}
			if !shown[n] {
				w.Hidden.Bytes += int64(size)
			}
		}
	}
	c.deleted(want, shown)
	return want
}

func (c *checker) below(i int) map[string]*thing {
	if i == 0 {
		return nil
	}
	return c.m.layers[i-1].after
}

// deleted counts files where their names go, and what they held where the last one goes.
func (c *checker) deleted(want []anatomy.Layer, shown map[*thing]bool) {
	last, deleted := map[*thing]int{}, map[*thing]bool{}
	for _, marks := range c.m.marks {
		for i := 1; i < len(marks); i++ {
			n, by := marks[i-1].thing, marks[i]
			if n == nil || n.isDir() {
				continue
			}
			if by.action == anatomy.Deleted {
				want[by.layer].Deleted.Files++
			}
			if by.layer > last[n] {
				last[n], deleted[n] = by.layer, false
			}
			deleted[n] = deleted[n] || by.layer == last[n] && by.action == anatomy.Deleted
		}
	}
	for n, layer := range last {
		if deleted[n] && !shown[n] {
			want[layer].Deleted.Bytes += n.size()
		}
	}
}

func (c *checker) layers() {
	for i, want := range c.stored() {
		got := c.img.Layers[i]
		got.Desc, got.DiffID, got.Stored = want.Desc, "", 0
		c.same(fmt.Sprint("layer ", i), got, want)
	}
	dirs := int64(0)
	for _, n := range c.shown() {
		if n.isDir() {
			dirs++
		}
	}
	c.same("shown", c.img.Shown, below(c.shown())[""])
	c.same("directories", c.img.ShownDirs, dirs)
}

// view holds each directory of a view against the sums of some files.
func (c *checker) view(what string, v *anatomy.View, files map[string]*thing) {
	sums := below(files)
	c.same(what, v.Tally(c.img.Root), sums[""])
	names := map[string]int{}
	for p, n := range files {
		dir := ""
		if i := strings.LastIndexByte(p, '/'); i >= 0 {
			dir = p[:i]
		}
		names[dir]++
		f := c.img.File(p)
		c.same(what+" "+p+": a directory", v.IsDir(f), n.isDir())
		if n.isDir() {
			c.same(what+" "+p, v.Tally(f), sums[p])
		}
	}
	for dir, sum := range sums {
		f, last := c.img.File(dir), int64(1<<62)
		all := v.Children(f)
		c.same(what+" "+dir+": files in it", len(all), names[dir])
		for _, g := range all {
			t := v.Tally(g)
			sum.Files, sum.Bytes = sum.Files-t.Files, sum.Bytes-t.Bytes
			if files[strings.TrimPrefix(g.Path(), "/")] == nil || t.Bytes > last {
				c.t.Errorf("image %d: %s: %s with %d bytes behind %d", c.seed, what, g.Path(), t.Bytes, last)
			}
			last = t.Bytes
		}
		c.same(what+" "+dir+": what is left", sum, anatomy.Tally{})
	}
	c.same(what+", folded", v.Fold(5).Tally, below(files)[""])
}

func (c *checker) views() {
	c.view("whole", c.img.Whole(), c.shown())
	for i, l := range c.m.layers {
		c.view(fmt.Sprint("up to ", i), c.img.UpTo(i), l.after)
		own := map[string]*thing{}
		for p := range l.implied {
			own[p] = l.after[p]
		}
		for p, n := range l.own {
			own[p] = n
		}
		c.view(fmt.Sprint("of layer ", i), c.img.Layer(i), own)
	}
}

// waste holds what is stored in vain against the marks, and copies against what is shown.
func (c *checker) waste() {
	var want anatomy.Waste
	shown, counted := map[*thing]bool{}, map[*thing]bool{}
	same := map[string]int64{}
	for _, n := range c.shown() {
		if !shown[n] && n.size() > 0 {
			if same[n.data]++; same[n.data] > 1 {
				count(&want.Copies, len(n.data))
			}
		}
		shown[n] = true
	}
	files := 0
	for _, p := range inOrder(c.m.marks) {
		marks := c.m.marks[p]
		for i := 1; i < len(marks); i++ {
			n := marks[i-1].thing
			if n == nil || n.isDir() {
				continue
			}
			size := n.size()
			if shown[n] || counted[n] {
				size = 0
			}
			counted[n] = true
			if size > 0 {
				files++
			}
			switch marks[i].action {
			case anatomy.Deleted:
				count(&want.Deleted, int(size))
			case anatomy.Restored:
				count(&want.Restored, int(size))
			default:
				count(&want.Replaced, int(size))
			}
		}
	}
	got := waste(c.t, c.img, 1000)
	c.same("replaced", got.Replaced, want.Replaced)
	c.same("deleted", got.Deleted, want.Deleted)
	c.same("stored again", got.Restored, want.Restored)
	c.same("copies", got.Copies, want.Copies)
	c.same("files listed", len(got.Files), files)
	for _, s := range got.Same {
		data := c.shown()[strings.TrimPrefix(s.Files[0].Path(), "/")].data
		c.same("files with the same content", int64(len(s.Files)), same[data])
	}
}

// marks holds who put each file there.
func (c *checker) marks() {
	n := 0
	c.img.Walk(func(f *anatomy.File, depth int) bool {
		n++
		p := strings.TrimPrefix(f.Path(), "/")
		c.same(p+": depth", depth, strings.Count(p, "/"))
		var got, want []string
		for m := range f.Marks() {
			got = append(got, fmt.Sprint(m.Layer, m.Action, m.Size()))
		}
		for _, m := range c.m.marks[p] {
			size := int64(0)
			if m.thing != nil {
				size = m.thing.size()
			}
			want = append(want, fmt.Sprint(m.layer, m.action, size))
		}
		c.same(p, got, want)
		return true
	})
	c.same("paths", n, len(c.m.marks))
}
