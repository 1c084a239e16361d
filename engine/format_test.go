package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/veneer-build/veneer/engine"
)

// TestFormat: a directory without a number gets it, and one of a newer version is refused, and not changed.
func TestFormat(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	open := func(reading bool) error {
		e, err := engine.Open(t.Context(), engine.Options{Mode: engine.Embedded, Root: root, Reading: reading, Snapshotter: "native"})
		if err == nil {
			err = e.Close()
		}
		return err
	}
	name := filepath.Join(root, "format")
	for range 2 {
		if err := open(false); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(name); err != nil || string(data) != "1\n" {
			t.Fatalf("the format is %q, %v", data, err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"2\n", "", "1.5", "10000000000000000000000000000"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, reading := range []bool{false, true} {
			if err := open(reading); !errors.Is(err, engine.ErrFormat) || !errors.Is(err, engine.ErrRoot) {
				t.Errorf("format %q, for reading %t: %v", text, reading, err)
			}
		}
		if data, err := os.ReadFile(name); err != nil || string(data) != text {
			t.Errorf("format %q is now %q, %v", text, data, err)
		}
	}
}
