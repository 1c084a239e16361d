package layer_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/index"
)

// exactLayer returns the layer that makes base show what want has, and how many
// changes are in it.
func exactLayer(t *testing.T, base, want string) ([]byte, *layer.Blob) {
	t.Helper()
	open := func(dir string) tree.Tree {
		l, err := disk.OpenLocal(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	c, err := differ.NewChanges(t.Context(), open(base))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Exactly(t.Context(), open(want), differ.ExactOptions{Name: "test", Times: true, RootMeta: true}); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	blob, err := layer.Write(t.Context(), &buf, c, layer.Options{Compression: layer.None})
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), blob
}

// describeTimes adds to describe the times of everything but the root.
func describeTimes(t *testing.T, dir string) map[string]string {
	t.Helper()
	lines := describe(t, dir)
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(p, &st)
		}
		if p != dir {
			rel, _ := filepath.Rel(dir, p)
			lines[rel] += fmt.Sprintf(" time=%d", st.Mtim.Sec)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func wantTrees(t *testing.T, want, got map[string]string) {
	t.Helper()
	for p, w := range want {
		if g := got[p]; g != w {
			t.Errorf("%s:\n got %q\nwant %q", p, g, w)
		}
	}
	for p, g := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s: got %q, want nothing", p, g)
		}
	}
}

// TestExactly: base plus layer, applied by containerd, is the other tree in all
// there is, times and attributes that went included; and the layer's index is
// what a scan finds.
func TestExactly(t *testing.T) {
	requireRoot(t)
	for seed := range 40 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			base, want := randomTree(t, r), randomTree(t, r)
			data, blob := exactLayer(t, base, want)
			got := clone(t, base)
			if _, err := archive.Apply(context.Background(), got, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			wantTrees(t, describeTimes(t, want), describeTimes(t, got))
			x, err := index.ScanLayer(t.Context(), bytes.NewReader(data), nil)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(x.Records) != fmt.Sprint(decoded(t, blob).Records) {
				t.Error("the index is not what a scan finds")
			}
			// Containerd does not set the root's own time, which alone is no change.
			if _, again := exactLayer(t, got, want); len(decoded(t, again).Records) > 0 {
				t.Errorf("once more: %v", decoded(t, again).Records)
			}
		})
	}
}

// A directory that loses an attribute, be it the only change, hides all of the base's.
func TestExactlyReplacesDirectory(t *testing.T) {
	requireRoot(t)
	base, want := t.TempDir(), t.TempDir()
	for _, dir := range []string{base, want} {
		for _, p := range []string{"d/sub/same", "d/x", "other/y"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, p), []byte(p), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Link(filepath.Join(want, "d/x"), filepath.Join(want, "other/x")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "d/sub/more"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Lsetxattr(filepath.Join(base, "d"), "user.old", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	data, blob := exactLayer(t, base, want)
	var names []string
	for _, r := range decoded(t, blob).Records {
		names = append(names, r.Path)
	}
	if fmt.Sprint(names[:3]) != "[.wh.d d d/.wh..wh..opq]" && fmt.Sprint(names[1:4]) != "[.wh.d d d/.wh..wh..opq]" {
		t.Errorf("entries %v", names)
	}
	if _, err := archive.Apply(context.Background(), base, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	wantTrees(t, describeTimes(t, want), describeTimes(t, base))
}

// What only the root directory has differently is one entry, for it.
func TestExactlyRoot(t *testing.T) {
	base, want := t.TempDir(), t.TempDir()
	if err := os.Chmod(want, 0o750); err != nil {
		t.Fatal(err)
	}
	_, blob := exactLayer(t, base, want)
	if records := decoded(t, blob).Records; len(records) != 1 || records[0].Path != "." || records[0].Mode != unix.S_IFDIR|0o750 {
		t.Errorf("records %+v", records)
	}
}
