package tempfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/veneer-build/veneer/internal/tempfile"
)

// A file has no name before it is linked, and links replace nothing.
func TestCreateAndLink(t *testing.T) {
	dir := t.TempDir()
	f, named, err := tempfile.Create(dir, "temp", "shown", 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("data"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); named != (len(got) == 1 && got[0] == "temp") || !named && len(got) > 0 {
		t.Fatalf("named: %t; files %q", named, got)
	}
	if named {
		t.Skip("files without a name: not on this file system")
	}
	to := filepath.Join(dir, "file")
	if err := tempfile.Link(f, to); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(to); err != nil || string(data) != "data" {
		t.Errorf("read %q, %v", data, err)
	}
	if err := tempfile.Link(f, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
}

func TestUnnamed(t *testing.T) {
	dir := t.TempDir()
	f, err := tempfile.Unnamed(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := names(t, dir); len(got) > 0 {
		t.Errorf("files %q", got)
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := tempfile.Unnamed(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
