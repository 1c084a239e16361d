package disk_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/differ/tree/treetest"
	"github.com/veneer-build/veneer/test/harness"
)

// BenchmarkWalk lists a directory and all below it, one directory after the
// other.
func BenchmarkWalk(b *testing.B) {
	path := harness.GoSource(b)
	b.ReportAllocs()
	files := 0
	for b.Loop() {
		files = len(treetest.LocalFiles(b, path))
	}
	b.ReportMetric(float64(files), "files")
}

// BenchmarkListings is what a later build pays for the base's directories.
func BenchmarkListings(b *testing.B) {
	s, err := disk.OpenStack([]string{harness.GoSource(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	_, dir, err := s.Root(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	learnt := filecache.NewListings()
	s.Remember(learnt)
	files := len(treetest.Files(b.Context(), b, dir))
	var stored bytes.Buffer
	if err := learnt.Save(&stored); err != nil {
		b.Fatal(err)
	}
	b.Run("Save", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := learnt.Save(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(stored.Len())/float64(files), "B/file")
	})
	b.Run("LoadAndWalk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			loaded, err := filecache.LoadListings(bytes.NewReader(stored.Bytes()))
			if err != nil {
				b.Fatal(err)
			}
			s.Remember(loaded)
			if got := len(treetest.Files(b.Context(), b, dir)); got != files || loaded.Changed() {
				b.Fatalf("%d files of %d are remembered", got, files)
			}
		}
	})
}
