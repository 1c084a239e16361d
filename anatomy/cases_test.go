package anatomy_test

import (
	"archive/tar"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/anatomy"
	"github.com/veneer-build/veneer/differ/tree/treetest"
)

func tars(t *testing.T, layers ...treetest.Layer) [][]byte {
	t.Helper()
	var all [][]byte
	for _, l := range layers {
		all = append(all, l.Bytes(t))
	}
	return all
}

func reg(name string, size int64) treetest.Header {
	return treetest.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}
}

func dir(name string) treetest.Header {
	return treetest.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}

// link is another name of the file a.
func link(name string) treetest.Header {
	return treetest.Header{Typeflag: tar.TypeLink, Name: name, Linkname: "a", Mode: 0o644}
}

func compare(t interface{ Fatal(...any) }, old, img *anatomy.Image, most int) *anatomy.Change {
	c, err := anatomy.Compare(context.Background(), old, img, most)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func waste(t interface{ Fatal(...any) }, img *anatomy.Image, most int) *anatomy.Waste {
	w, err := img.Waste(context.Background(), most)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func actions(img *anatomy.Image, p string) string {
	var all []string
	for m := range img.File(p).Marks() {
		all = append(all, m.Action.String())
	}
	return strings.Join(all, ", ")
}

// TestHardLinks: a content counts once, and is wasted when its last name is gone.
func TestHardLinks(t *testing.T) {
	low := treetest.Layer{reg("a", 100), link("b"), link("d/c"), reg("z", 7)}
	img := imageOf(t, tars(t, low, treetest.Layer{reg(".wh.a", 0)}))
	if got, want := img.Layers[0].Unpacked, (anatomy.Tally{Files: 4, Bytes: 107}); got != want {
		t.Errorf("unpacked %v, want %v", got, want)
	}
	if got, want := img.Shown, (anatomy.Tally{Files: 3, Bytes: 107}); got != want {
		t.Errorf("shown %v, want %v", got, want)
	}
	if w := waste(t, img, 10); w.Hidden().Bytes != 0 || w.Deleted.Files != 1 || len(w.Files) != 0 || w.Copies.Files != 0 {
		t.Errorf("one of three names is gone: %+v", w)
	}
	if got := img.Layers[1].Deleted; got != (anatomy.Tally{Files: 1}) {
		t.Errorf("one of three names is deleted: %v", got)
	}
	if got := img.Layers[0].Hidden.Bytes; got != 0 {
		t.Errorf("%d bytes are hidden", got)
	}
	whole := img.Whole()
	if got := whole.Tally(img.Root).Bytes; got != 107 {
		t.Errorf("the root has %d bytes", got)
	}
	if got := whole.Largest(9); len(got) != 2 || got[0].Path() != "/b" {
		t.Errorf("the largest are %v", got)
	}

	img = imageOf(t, tars(t, low, treetest.Layer{reg(".wh.a", 0), reg(".wh.b", 0), reg(".wh.d", 0)}))
	if w := waste(t, img, 10); w.Deleted != (anatomy.Tally{Files: 3, Bytes: 100}) || len(w.Files) != 1 {
		t.Errorf("all names are gone: %+v", w)
	}
	if got := img.Layers[1].Deleted; got != (anatomy.Tally{Files: 3, Bytes: 100}) {
		t.Errorf("deleted %v", got)
	}
}

// TestLastNameDeleted: what a file of several names held is gone with its last name.
func TestLastNameDeleted(t *testing.T) {
	img := imageOf(t, tars(t, treetest.Layer{reg("a", 100), link("b"), link("c")},
		treetest.Layer{reg(".wh.c", 0)}, treetest.Layer{reg("a", 3)}, treetest.Layer{reg(".wh.b", 0)}))
	for i, want := range []anatomy.Tally{{}, {Files: 1}, {}, {Files: 1, Bytes: 100}} {
		if got := img.Layers[i].Deleted; got != want {
			t.Errorf("layer %d deletes %v, want %v", i+1, got, want)
		}
	}
}

// TestOpaque: what an opaque directory hides is deleted or replaced, path by path.
func TestOpaque(t *testing.T) {
	low := treetest.Layer{dir("d"), reg("d/gone", 10), reg("d/new", 20), reg("d/same", 30), dir("d/e"), reg("d/e/f", 40)}
	img := imageOf(t, tars(t, low, treetest.Layer{dir("d"), reg("d/.wh..wh..opq", 0), reg("d/new", 21), reg("d/same", 30)}))
	for p, want := range map[string]string{
		"d/gone": "added, deleted", "d/new": "added, replaced", "d/same": "added, stored again", "d/e": "added, deleted", "d/e/f": "added, deleted",
	} {
		if got := actions(img, p); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
	w := waste(t, img, 10)
	if w.Deleted.Bytes != 50 || w.Replaced.Bytes != 20 || w.Restored.Bytes != 30 || img.Shown.Bytes != 51 {
		t.Errorf("%+v, shown %v", w, img.Shown)
	}
}

// TestKinds: a file in the place of a directory and the other way round, a second entry, and what comes back.
func TestKinds(t *testing.T) {
	img := imageOf(t, tars(t,
		treetest.Layer{reg("twice", 5), reg("twice", 6), dir("d"), reg("d/f", 10), reg("x", 3)},
		treetest.Layer{reg("d", 4), dir("x"), reg("x/y", 8)},
		treetest.Layer{reg(".wh.d", 0)},
		treetest.Layer{reg("d", 2)},
	))
	for p, want := range map[string]string{"d": "added, replaced, deleted, added", "d/f": "added, deleted", "x": "added, replaced", "twice": "added"} {
		if got := actions(img, p); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
	if got := img.Layers[0].Twice; got != (anatomy.Tally{Files: 1, Bytes: 5}) {
		t.Errorf("twice %v", got)
	}
	w := waste(t, img, 10)
	if w.Deleted.Bytes != 14 || w.Replaced.Bytes != 3 || w.Twice.Bytes != 5 || w.Hidden().Bytes != 22 {
		t.Errorf("%+v", w)
	}
	if up := img.UpTo(1); up.IsDir(img.File("d")) || !up.IsDir(img.File("x")) || up.Tally(img.Root).Bytes != 6+4+8 {
		t.Errorf("up to the second layer: %v", up.Tally(img.Root))
	}
	names := []string{}
	for _, f := range img.Layer(1).Children(img.Root) {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"x", "d"}) {
		t.Errorf("the second layer has %v", names)
	}
}

// TestCosts: which blobs and which files an update brings.
func TestCosts(t *testing.T) {
	base, app := treetest.Layer{reg("a", 10)}, treetest.Layer{reg("b", 20)}
	old := imageOf(t, tars(t, base, app))
	img := imageOf(t, tars(t, base, treetest.Layer{reg("c", 30), reg("a", 10)}, app))
	c := compare(t, old, img, 10)
	if c.Kept != 1 || c.Fetch.Files != 1 || c.Fetch.Bytes != img.Layers[1].Stored || c.Have.Files != 2 {
		t.Errorf("%+v", c)
	}
	if c.Unpack != (anatomy.Tally{Files: 3, Bytes: 60}) || c.Thin() != (anatomy.Tally{Files: 1, Bytes: 30}) {
		t.Errorf("%+v", c)
	}
	if c := compare(t, img, img, 10); c.Fetch.Files != 0 || c.Thin().Files != 0 || c.Unpack.Files != 0 {
		t.Errorf("to itself: %+v", c)
	}
	if c := compare(t, imageOf(t, nil), img, 1); c.Added.Files != 3 || len(c.Files) != 1 || c.Files[0].Path != "/c" {
		t.Errorf("from nothing: %+v", c)
	}
}

// TestDirectoriesDiffer: a mode of a directory is a difference, as for veneer diff, and so is an empty directory.
func TestDirectoriesDiffer(t *testing.T) {
	open := dir("etc")
	open.Mode = 0o777
	for name, layers := range map[string][2][]treetest.Layer{
		"mode":    {{{dir("etc")}}, {{open}}},
		"added":   {{{}}, {{dir("etc")}}},
		"removed": {{{dir("etc")}}, {{}}},
		"below":   {{{dir("etc"), reg("etc/a", 1)}}, {{open}, {reg("etc/a", 1)}}},
	} {
		c := compare(t, imageOf(t, tars(t, layers[0]...)), imageOf(t, tars(t, layers[1]...)), 10)
		if c.Dirs != 1 || len(c.Files) != 1 || c.Files[0].Path != "/etc" || !c.Files[0].Dir || c.Thin().Files != 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	implied := imageOf(t, tars(t, treetest.Layer{reg("etc/a", 1)}))
	if c := compare(t, implied, imageOf(t, tars(t, treetest.Layer{dir("etc"), reg("etc/a", 1)})), 10); c.Dirs != 0 {
		t.Errorf("a directory without an entry: %+v", c)
	}
}

// TestLinksDiffer: a file that gets another name is stored with all of them, its content once, as veneer delta does.
func TestLinksDiffer(t *testing.T) {
	one, two := treetest.Layer{reg("a", 100)}, treetest.Layer{reg("a", 100), link("b")}
	a, both := imageOf(t, tars(t, one)), imageOf(t, tars(t, two))
	if c := compare(t, a, both, 10); c.Thin() != (anatomy.Tally{Files: 2, Bytes: 100}) {
		t.Errorf("a second name: %+v", c)
	}
	if c := compare(t, both, a, 10); c.Removed != (anatomy.Tally{Files: 1}) || c.Thin().Files != 0 {
		t.Errorf("a name is gone: %+v", c)
	}
	if c := compare(t, both, imageOf(t, tars(t, treetest.Layer{reg("c", 1)})), 10); c.Removed != (anatomy.Tally{Files: 2, Bytes: 100}) {
		t.Errorf("all names are gone: %+v", c)
	}
	if c := compare(t, both, imageOf(t, tars(t, treetest.Layer{reg("c", 1)}, two)), 10); c.Thin() != (anatomy.Tally{Files: 1, Bytes: 1}) {
		t.Errorf("the same names: %+v", c)
	}
	apart := imageOf(t, tars(t, treetest.Layer{reg("a", 100), reg("b", 100)}))
	if c := compare(t, both, apart, 10); c.Metadata != (anatomy.Tally{Files: 1, Bytes: 100}) {
		t.Errorf("two files instead of one: %+v", c)
	}
}

// TestStored: a blob that is several layers counts once.
func TestStored(t *testing.T) {
	same := treetest.Layer{reg("a", 10)}
	img := imageOf(t, tars(t, same, treetest.Layer{reg("b", 10)}, same))
	if got, want := img.Stored(), (anatomy.Tally{Files: 2, Bytes: img.Layers[0].Stored + img.Layers[1].Stored}); got != want {
		t.Errorf("stored %v, want %v", got, want)
	}
}

// TestInterrupted: what takes long ends with its context.
func TestInterrupted(t *testing.T) {
	img, old := imageOf(t, tars(t, treetest.Layer{reg("a", 10)})), imageOf(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := img.Waste(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("waste: %v", err)
	}
	if _, err := anatomy.Compare(ctx, old, img, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("compare: %v", err)
	}
}
