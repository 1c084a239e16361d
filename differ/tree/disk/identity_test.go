package disk

import (
	"os"
	"path/filepath"
	"testing"
)

// TestIdentity: a directory made again in the same place is another snapshot.
func TestIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fs")
	identity := func() string {
		t.Helper()
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStack([]string{dir})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		id, err := s.Identity()
		if again, _ := s.Identity(); err != nil || again != id {
			t.Fatalf("%q, then %q, %v", id, again, err)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		return id
	}
	if a, b := identity(), identity(); a == b {
		t.Errorf("two directories are both %s", a)
	}
}
