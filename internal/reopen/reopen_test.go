package reopen_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer/internal/reopen"
)

// What was looked at is opened, whatever has its name then.
func TestOpenIsWhatWasLookedAt(t *testing.T) {
	dir := t.TempDir()
	name, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, n := range []string{name, other} {
		if err := os.WriteFile(n, []byte(filepath.Base(n)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at, info, err := reopen.Look(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, name); err != nil {
		t.Fatal(err)
	}
	f, err := reopen.Open(at, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := f.Stat(); err != nil || !os.SameFile(got, info) {
		t.Errorf("opened %v, %v", got, err)
	}
	link, info, err := reopen.Look(name, syscall.O_NOFOLLOW)
	if err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Fatalf("a link looks like %v, %v", info, err)
	}
	defer link.Close()
	if f, err := reopen.Open(link, os.O_RDONLY); err == nil {
		f.Close()
		t.Error("a link was opened")
	}
}

// Errors of what was opened have the name that people know it by.
func TestOpenKeepsTheName(t *testing.T) {
	dir := t.TempDir()
	at, _, err := reopen.Look(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	f, err := reopen.Open(at, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var why *os.PathError
	if _, err := f.Read(make([]byte, 1)); !errors.As(err, &why) || why.Path != dir {
		t.Errorf("reading a directory: %v", err)
	}
}
