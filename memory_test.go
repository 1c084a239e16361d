package veneer_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
)

// TestMemoryIsNeverBelievedWrongly: a source changes under equal size and
// modification time, and what is remembered is damaged: both are noticed.
func TestMemoryIsNeverBelievedWrongly(t *testing.T) {
	root, src := t.TempDir(), t.TempDir()
	e := openEmbedded(t, root)
	for _, name := range []string{"a", "b", "c"} {
		write(t, src, name, "content of "+name)
	}
	for _, reader := range []veneer.ReaderKind{veneer.ReadIndex, veneer.ReadView} {
		t.Run(string(reader), func(t *testing.T) {
			if reader == veneer.ReadView && os.Getuid() != 0 {
				t.Skip("needs root to read a snapshot")
			}
			req := veneer.BuildRequest{
				Base:          "base",
				TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/app"}}},
				ReadOptions:   veneer.ReadOptions{Reader: reader},
				ImageOptions:  veneer.ImageOptions{Tags: []string{"next"}},
			}
			mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: req.Targets}, ImageOptions: veneer.ImageOptions{Tags: []string{"base"}}})
			time.Sleep(3100 * time.Millisecond) // Younger files are not remembered.
			if res := mustBuild(t, e, req); !res.Unchanged {
				t.Fatalf("changes %+v", res.Changes)
			}
			caches, err := filepath.Glob(filepath.Join(root, "cache", "sha256", "*"))
			if err != nil || len(caches) < 2 {
				t.Fatalf("nothing is remembered: %v, %v", caches, err)
			}

			// The same length and time, other bytes.
			p := filepath.Join(src, "b")
			st, err := os.Stat(p)
			if err != nil {
				t.Fatal(err)
			}
			write(t, src, "b", "CONTENT OF B")
			if err := os.Chtimes(p, st.ModTime(), st.ModTime()); err != nil {
				t.Fatal(err)
			}
			if res := mustBuild(t, e, req); res.Changes.Modified.Count != 1 {
				t.Errorf("a change that only ctime shows: %+v", res.Changes)
			}
			want := mustBuild(t, e, req).Layer.DiffID

			for _, cache := range caches {
				good, err := os.ReadFile(cache)
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(good); i += 1 + len(good)/12 {
					bad := append([]byte(nil), good...)
					bad[i] ^= 0x40
					if err := os.WriteFile(cache, bad, 0o600); err != nil {
						t.Fatal(err)
					}
					if res := mustBuild(t, e, req); res.Layer == nil || res.Layer.DiffID != want {
						t.Fatalf("byte %d of %s flipped: %+v", i, cache, res)
					}
				}
			}
			write(t, src, "b", "content of b")
		})
	}
}

// TestNoCache writes nothing and reads nothing.
func TestNoCache(t *testing.T) {
	root, src := t.TempDir(), t.TempDir()
	e := openEmbedded(t, root)
	write(t, src, "a", "a")
	targets := []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/app"}}
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: targets}, ReadOptions: veneer.ReadOptions{NoCache: true}, ImageOptions: veneer.ImageOptions{Tags: []string{"base"}}})
	mustBuild(t, e, veneer.BuildRequest{Base: "base", TargetOptions: veneer.TargetOptions{Targets: targets}, ReadOptions: veneer.ReadOptions{NoCache: true}, ImageOptions: veneer.ImageOptions{Tags: []string{"next"}}})
	if _, err := os.Stat(filepath.Join(root, "cache")); !os.IsNotExist(err) {
		t.Errorf("there is a cache: %v", err)
	}
}
