package differ_test

import (
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
)

// stacks opens the lower directories as the base, and them below an upper one as the source.
func stacks(t *testing.T, upper string, lowers ...string) (base, source tree.Tree) {
	t.Helper()
	b, err := disk.OpenStack(lowers)
	must(t, err)
	s, err := disk.OpenStack(append([]string{upper}, lowers...))
	must(t, err)
	t.Cleanup(func() {
		must(t, b.Close())
		must(t, s.Close())
	})
	return b, s
}

// whiteout makes overlayfs's mark of a deletion.
func whiteout(t *testing.T, name string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	if err := unix.Mknod(name, unix.S_IFCHR, 0); err != nil {
		t.Skipf("needs the right to make devices: %v", err)
	}
}

// TestUpperDirectory compares what an overlay's upper directory shows with its lower ones: all that
// differs is found, and directories that the upper one lacks are not looked into.
func TestUpperDirectory(t *testing.T) {
	lower := files{
		"etc/a": "1", "etc/b": "2", "etc/same": "copied up, not changed",
		"usr/share/doc/1": "x", "usr/share/doc/2": "x", "usr/share/doc/3": "x",
		"var/lib/gone/x": "x", "var/lib/emptied/x": "x", "var/lib/emptied/keep": "as before",
		"tofile/x": "x", "todir": "x",
	}.make(t)
	upper := files{
		"etc/a": "changed", "etc/same": "copied up, not changed", "etc/new": "new",
		"var/lib/emptied/y": "y", "var/lib/emptied/keep": "as before", "tofile": "file", "todir/x": "x",
	}.make(t)
	whiteout(t, filepath.Join(upper, "etc/b"))
	whiteout(t, filepath.Join(upper, "var/lib/gone"))
	whiteout(t, filepath.Join(upper, "var/lib/never"))
	for _, dir := range []string{"var/lib/emptied", "todir"} {
		if err := unix.Setxattr(filepath.Join(upper, dir), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
			t.Skipf("needs trusted extended attributes: %v", err)
		}
	}
	base, source := stacks(t, upper, lower)
	c, err := differ.NewChanges(t.Context(), base)
	must(t, err)
	var looked, read atomic.Int64
	o := differ.Options{Count: func(n, b int64) { looked.Add(n); read.Add(b) }}
	must(t, c.Apply(t.Context(), differ.Target{Op: differ.Sync, Source: source, Dest: "/", Owner: differ.OwnerSource, ForceDelete: true}, o))
	want := []string{
		"M etc/a content", "D etc/b absent", "A etc/new new", "M todir type", "A todir/x new", "M tofile type",
		"D var/lib/emptied/x absent", "A var/lib/emptied/y new", "D var/lib/gone absent",
	}
	got := list(t, c)
	if !slices.Equal(got, want) {
		t.Errorf("changes are\n%q, want\n%q", got, want)
	}
	// 5 in /, 3 in etc, 1 in var, 1 in var/lib, 2 in emptied, 1 in todir.
	if looked.Load() != 13 || read.Load() != int64(len("copied up, not changed")+len("as before")) {
		t.Errorf("looked at %d entries and %d bytes: at more than the upper directory's", looked.Load(), read.Load())
	}
}

// TestUpperDirectoryMoved shows that a directory of the base is taken for itself only at its own place, and only
// if nothing of it is to change.
func TestUpperDirectoryMoved(t *testing.T) {
	lower := files{"app/bin/x": "x"}.make(t)
	for _, c := range []struct {
		name   string
		target differ.Target
		want   int64
	}{
		{"own place", differ.Target{Dest: "/", Owner: differ.OwnerBase}, 0},
		{"elsewhere", differ.Target{Dest: "/else", Owner: differ.OwnerBase}, 4},
		{"other owner", differ.Target{Dest: "/", Chown: &differ.Owner{UID: 5, GID: 6}}, 3},
		{"other mode", differ.Target{Dest: "/", Owner: differ.OwnerBase, Chmod: func(m uint32) uint32 { return m | 0o7 }}, 3},
	} {
		base, source := stacks(t, t.TempDir(), lower)
		changes, err := differ.NewChanges(t.Context(), base)
		must(t, err)
		c.target.Source = source
		must(t, changes.Apply(t.Context(), c.target, differ.Options{}))
		s := changes.Summary()
		if got := s.Added.Count + s.Modified.Count; got != c.want {
			t.Errorf("%s: %d changes, want %d", c.name, got, c.want)
		}
	}
}
