package dockerfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/solver/pb"
)

// TestSweepMemory: secrets of killed builds go, those of running ones stay.
func TestSweepMemory(t *testing.T) {
	in := t.TempDir()
	var dirs []string
	for _, name := range []string{"left", "used", "new"} {
		dir := filepath.Join(in, memoryPrefix+name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	for i, dir := range dirs[:2] {
		if err := os.WriteFile(filepath.Join(dir, "secret-0"), []byte("hidden"), 0o400); err != nil {
			t.Fatal(err)
		}
		lock, err := lockDir(t.Context(), dir, pb.CacheSharingOpt_LOCKED)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if i == 0 { // As when the process is killed.
			if err := lock.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := sweepMemory(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for i, dir := range dirs {
		if _, err := os.Stat(dir); os.IsNotExist(err) != (i == 0) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
