package filecache_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// TestMemoryRace: a file that changed within the margin may change again
// unseen, so it is not remembered (git's racy entries).
func TestMemoryRace(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(p, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := disk.OpenLocal(filepath.Dir(p))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, dir, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := dir.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := filecache.New()
	m.AddDigest(&entries[0], tree.Digest{1})
	if m.Changed() {
		t.Error("a file written this moment is remembered")
	}
	m.Later(time.Second)
	m.AddDigest(&entries[0], tree.Digest{1})
	if !m.Digest(&entries[0]).Known() {
		t.Error("a file at rest is not remembered")
	}
}

// TestMemoryOfAttributes: that a file has no extended attributes is forgotten
// when it gets one, be nothing else different.
func TestMemoryOfAttributes(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "f")
	if err := os.WriteFile(p, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := disk.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := filecache.New()
	m.Later(time.Hour)
	if l.Remember(m); l.Trust().Mounting == "" {
		t.Skip("a file system whose change times do not tell of attributes")
	}
	_, d, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func() tree.Entry {
		t.Helper()
		entries, err := d.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return entries[0]
	}
	if e := read(); !m.Plain(&e) {
		t.Fatal("not remembered that there are no attributes")
	}
	if err := unix.Setxattr(p, "user.a", []byte("b"), 0); err != nil {
		t.Skipf("no user attributes here: %v", err)
	}
	e := read()
	if e.Xattrs["user.a"] != "b" || m.Plain(&e) {
		t.Errorf("a new attribute is not seen: %v", e.Xattrs)
	}
}
