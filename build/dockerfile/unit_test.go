package dockerfile

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
)

// list returns the paths of a tree, in order.
func list(t *testing.T, whole tree.Tree) []string {
	t.Helper()
	_, dir, err := whole.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	var below func(d tree.Dir, at string)
	below = func(d tree.Dir, at string) {
		entries, err := d.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			p := at + e.Name
			all = append(all, p)
			if e.IsDir() {
				sub, err := d.Sub(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				below(sub, p+"/")
			}
		}
	}
	below(dir, "")
	return all
}

func TestFilter(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a/b/c", "a/b/d.log", "a/e", "f.log", "g/h/i", "node_modules/x/y"} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := disk.OpenLocal(root)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		exclude, include string
		want             string
	}{
		{"", "", "a a/b a/b/c a/b/d.log a/e f.log g g/h g/h/i node_modules node_modules/x node_modules/x/y"},
		{"**/*.log node_modules", "", "a a/b a/b/c a/e g g/h g/h/i"},
		{"* !a/b", "", "a a/b a/b/c a/b/d.log"},
		{"* !g/h/i", "", "g g/h g/h/i"},
		{"* !**/*.log", "", "a a/b a/b/d.log f.log"},
		{"", "a/b/*", "a a/b a/b/c a/b/d.log"},
		{"**/*.log", "a/b", "a a/b a/b/c"},
	} {
		f, err := filterTree(l, strings.Fields(c.exclude), strings.Fields(c.include), false)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(list(t, f), " "); got != c.want {
			t.Errorf("without %q, with %q: got %s, want %s", c.exclude, c.include, got, c.want)
		}
	}
}

func TestReplaceSync(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"FROM a\nCOPY b c\n", "FROM a\nCOPY b c\n"},
		{"FROM a\n  sync b \\\n c\nRUN echo SYNC\n", "FROM a\n  MARKED b \\\n c\nRUN echo SYNC\n"},
		{"FROM a\n# SYNC x y\nRUN <<E\nSYNC x y\nE\nONBUILD SYNC x y\n", "FROM a\n# SYNC x y\nRUN <<E\nSYNC x y\nE\nONBUILD MARKED x y\n"},
		{"FROM a\nSYNC --chown=1 [\"x\", \"y\"]", "FROM a\nMARKED --chown=1 [\"x\", \"y\"]"},
	} {
		got := string(replaceSync([]byte(c.in)))
		if want := strings.ReplaceAll(c.want, "MARKED", syncCopy); got != want {
			t.Errorf("%q: got %q", c.in, got)
		}
	}
}

func TestFitHistory(t *testing.T) {
	at := time.Unix(1000, 0).UTC()
	step := func(empty bool) ocispec.History { return ocispec.History{CreatedBy: "x", EmptyLayer: empty} }
	layer := graph.Layer{DiffID: "sha256:1"}
	for _, c := range []struct {
		name             string
		all              []ocispec.History
		base, baseLayers int
		layers           []graph.Layer
		want             string // L for a layer, e for none
	}{
		{"as it is", []ocispec.History{step(false), step(true), step(false)}, 1, 1, []graph.Layer{layer, layer}, "LeL"},
		{"a step that changed nothing", []ocispec.History{step(false), step(false)}, 1, 1, []graph.Layer{layer, {}}, "Le"},
		{"a base without history", []ocispec.History{step(false)}, 0, 2, []graph.Layer{layer, layer, layer}, "LLL"},
		{"a base with too much", []ocispec.History{step(false), step(false), step(false)}, 2, 1, []graph.Layer{layer, layer}, "LeL"},
	} {
		var got string
		for _, h := range fitHistory(c.all, c.base, c.layers, c.baseLayers, at) {
			got += map[bool]string{false: "L", true: "e"}[h.EmptyLayer]
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// sum is the digest of a directory, as a build context.
func sum(t *testing.T, root string, epoch *time.Time) graph.Key {
	t.Helper()
	l, err := disk.OpenLocal(root)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := graph.NewHash("test")
	x := &sums{foreign: true, epoch: epoch, tokens: make(chan struct{}, 2)}
	if err := x.tree(context.Background(), h, l); err != nil {
		t.Fatal(err)
	}
	return h.Key()
}

// TestSums: what counts in the digest of a context, and what does not.
func TestSums(t *testing.T) {
	root := t.TempDir()
	p := filepath.Join(root, "d/file")
	do := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	old := time.Unix(1_600_000_000, 0)
	do(os.Mkdir(filepath.Join(root, "d"), 0o755), os.WriteFile(p, []byte("1"), 0o644), os.Chtimes(p, old, old))
	epoch := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		name         string
		change       func()
		plain, dated bool // whether the digest changes
	}{
		{"nothing", func() {}, false, false},
		{"an older time", func() { do(os.Chtimes(p, old.Add(-time.Hour), old.Add(-time.Hour))) }, false, true},
		{"an equal text", func() {
			do(os.WriteFile(p, []byte("1"), 0o644), os.Chtimes(p, old.Add(-time.Hour), old.Add(-time.Hour)))
		}, false, false},
		{"a mode", func() { do(os.Chmod(p, 0o600)) }, true, true},
		{"a text", func() {
			do(os.WriteFile(p, []byte("2"), 0o644), os.Chtimes(p, old.Add(-time.Hour), old.Add(-time.Hour)))
		}, true, true},
		{"a second name", func() { do(os.Link(p, p+"3")) }, true, true},
		{"two files of it", func() {
			do(os.Remove(p+"3"), os.WriteFile(p+"3", []byte("2"), 0o600), os.Chtimes(p+"3", old.Add(-time.Hour), old.Add(-time.Hour)))
		}, false, true},
		{"a type", func() { do(os.Remove(p), os.Symlink("x", p)) }, true, true},
		{"a name", func() { do(os.Rename(p, p+"2")) }, true, true},
	} {
		plain, dated := sum(t, root, nil), sum(t, root, &epoch)
		c.change()
		if changed := sum(t, root, nil) != plain; changed != c.plain {
			t.Errorf("%s: the digest changed: %t", c.name, changed)
		}
		// The time of the directory is the build's, and beyond the epoch.
		if changed := sum(t, root, &epoch) != dated; changed != c.dated {
			t.Errorf("%s: the digest with SOURCE_DATE_EPOCH changed: %t", c.name, changed)
		}
	}
}

func TestIsArchive(t *testing.T) {
	for text, want := range map[string]bool{
		"":                           false,
		"text":                       false,
		"BZh91AY&SY":                 false,
		"\xfd7zXZ\x00rest":           false,
		"PK\x03\x04":                 false,
		"\x1f\x8bnot a gzip":         false,
		strings.Repeat("\x00", 1024): false,
	} {
		got, err := isArchive(strings.NewReader(text))
		if err != nil || got != want {
			t.Errorf("%q: %t, %v, want %t", text, got, err, want)
		}
	}
}
