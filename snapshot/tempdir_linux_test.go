package snapshot

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What a process holds stays, and so does what is not of our making; what a killed one left goes.
func TestSweepTemp(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	at := func(name string) string { return filepath.Join(os.TempDir(), name) }
	held, err := makeTemp(tempMountPrefix)
	if err != nil {
		t.Fatal(err)
	}
	stores, remove, err := TempStores()
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(at("veneer-mount-left/rootfs"), 0o700))
	must(os.MkdirAll(at("veneer-stores-left/content/blobs"), 0o700))
	must(os.WriteFile(at("veneer-stores-left/meta.db"), []byte("data"), 0o600))
	must(os.MkdirAll(at("veneer-other/rootfs"), 0o700))
	must(os.MkdirAll(at("elsewhere/data"), 0o700))
	must(os.Symlink("elsewhere", at("veneer-stores-link")))

	removed, err := SweepTemp()
	slices.Sort(removed)
	if want := []string{at("veneer-mount-left"), at("veneer-stores-left")}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %q, %v, want %q", removed, err, want)
	}
	for _, path := range []string{held.path, stores, at("veneer-other/rootfs"), at("elsewhere/data"), at("veneer-stores-link")} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}

	// A mount that stayed in a killed process's directory loses nothing.
	must(os.MkdirAll(at("veneer-mount-full/rootfs"), 0o700))
	must(os.WriteFile(at("veneer-mount-full/rootfs/file"), nil, 0o600))
	if _, err := SweepTemp(); err == nil {
		t.Error("no error for a mount point with files")
	}
	if _, err := os.Stat(at("veneer-mount-full/rootfs/file")); err != nil {
		t.Error(err)
	}
	must(remove())
	if _, err := os.Stat(stores); !os.IsNotExist(err) {
		t.Errorf("the stores are there after their removal: %v", err)
	}
}
