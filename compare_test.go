package veneer_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content/archive"
)

// Whatever the two trees are in, they differ in the same paths for the same reasons.
func TestCompareAnyTwo(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	dir := deltaImages(t, e)
	ctx := e.Context(t.Context())
	img := resolve(t, e, "full:1")
	layout, file := filepath.Join(t.TempDir(), "layout"), filepath.Join(t.TempDir(), "full.tar")
	items := []archive.Item{{Names: []string{img.Name}, Target: img.Manifest}}
	if _, err := archive.ExportLayout(ctx, e.Client.ContentStore(), layout, items, archive.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Export(ctx, e.Client.ContentStore(), f, items, archive.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	compare := func(a, b string) []string {
		res, err := veneer.Compare(t.Context(), e, veneer.CompareRequest{A: a, B: b, Times: true})
		if err != nil {
			t.Fatalf("%s %s: %v", a, b, err)
		}
		var lines []string
		for _, c := range res.Changes {
			if c.Path != "/" { // a directory's own is the test's
				lines = append(lines, c.Kind.String()+" "+c.Path+" "+string(c.Reason))
			}
		}
		return lines
	}
	want := compare("base:1", "full:1")
	for _, line := range []string{"M /attr xattr", "A /attr/f new", "D /gone absent", "M /kind type", "M /later mtime", "M /lib type", "M /linked/one link", "A /linked/two new", "M /same xattr", "A /usr/lib/x new"} {
		if !slices.Contains(want, line) {
			t.Errorf("%q is not in %q", line, want)
		}
	}
	for _, b := range []string{"oci:" + layout, "archive:" + file, "archive:" + file + ":full:1", "dir:" + dir, dir} {
		if got := compare("base:1", b); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", b, got, want)
		}
		if got := compare(b, "full:1"); len(got) > 0 {
			t.Errorf("%s is not full:1: %q", b, got)
		}
	}
}

func TestCompareRefused(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	deltaImages(t, e)
	file := filepath.Join(t.TempDir(), "file")
	write(t, filepath.Dir(file), "file", "x")
	for b, says := range map[string]string{
		"absent":           "no image",
		"dir:/nowhere":     "does not exist",
		file:               "archive:",
		"container:nobody": "nobody",
		"oci:/nowhere":     "no such file",
	} {
		_, err := veneer.Compare(t.Context(), e, veneer.CompareRequest{A: "base:1", B: b})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", b, err, says)
		}
	}
}
