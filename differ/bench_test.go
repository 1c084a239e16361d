package differ_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/test/harness"
)

// BenchmarkCompare compares a tree with one that is as it is: every path is
// looked at, and what the mode wants read is read on both sides.
func BenchmarkCompare(b *testing.B) {
	src := harness.GoSource(b)
	twin := filepath.Join(b.TempDir(), "src")
	if out, err := exec.CommandContext(b.Context(), "cp", "-a", src, twin).CombinedOutput(); err != nil {
		b.Fatalf("cp: %v: %s", err, out)
	}
	cache := filecache.New()
	for _, c := range []struct {
		name  string
		mode  differ.CompareMode
		cache *filecache.Cache
	}{
		{"content", differ.CompareContent, nil},
		{"metadata", differ.CompareMetadata, nil},
		{"remembered", differ.CompareContent, cache},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var looked int64
			for b.Loop() {
				looked = compareOnce(b, twin, src, c.mode, c.cache)
			}
			b.ReportMetric(float64(looked), "files")
		})
	}
}

// BenchmarkNew compares a tree with nothing: every path is new, and kept.
func BenchmarkNew(b *testing.B) {
	source, err := disk.OpenLocal(harness.GoSource(b))
	if err != nil {
		b.Fatal(err)
	}
	defer source.Close()
	nothing, err := index.Merge(b.Context(), nil, index.MergeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		changes, err := differ.NewChanges(b.Context(), nothing)
		if err != nil {
			b.Fatal(err)
		}
		t := differ.Target{Op: differ.Sync, Name: "sync", Source: source, Dest: "/app", Owner: differ.OwnerBase}
		if err := changes.Apply(b.Context(), t, differ.Options{}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(changes.Summary().Added.Count), "files")
	}
}

func compareOnce(b *testing.B, base, src string, mode differ.CompareMode, cache *filecache.Cache) int64 {
	b.Helper()
	old, err := disk.OpenLocal(base)
	if err != nil {
		b.Fatal(err)
	}
	defer old.Close()
	source, err := disk.OpenLocal(src)
	if err != nil {
		b.Fatal(err)
	}
	defer source.Close()
	changes, err := differ.NewChanges(b.Context(), old)
	if err != nil {
		b.Fatal(err)
	}
	err = changes.Apply(b.Context(), differ.Target{
		Op: differ.Sync, Name: "sync", Source: source, Dest: "/", Owner: differ.OwnerSource, ForceDelete: true, Cache: cache,
	}, differ.Options{Compare: mode})
	if err != nil {
		b.Fatal(err)
	}
	if !changes.Empty() {
		b.Fatalf("a copy differs: %+v", changes.Summary())
	}
	return int64(changes.Summary().Looked.Count)
}
