package filecache_test

import (
	"bytes"
	"testing"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/differ/tree/treetest"
	"github.com/veneer-build/veneer/test/harness"
)

// BenchmarkMemory is what a build pays for remembering the digests of the
// files of a tree.
func BenchmarkMemory(b *testing.B) {
	files := treetest.LocalFiles(b, harness.GoSource(b))
	m := filecache.New()
	for i := range files {
		m.AddDigest(&files[i], tree.Digest{1})
	}
	var stored bytes.Buffer
	if err := m.Save(&stored); err != nil {
		b.Fatal(err)
	}
	b.Run("Save", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var out bytes.Buffer
			if err := m.Save(&out); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(stored.Len())/float64(len(files)), "B/file")
	})
	b.Run("LoadAndAsk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			loaded, err := filecache.Load(bytes.NewReader(stored.Bytes()))
			if err != nil {
				b.Fatal(err)
			}
			for i := range files {
				if !loaded.Digest(&files[i]).Known() {
					b.Fatalf("%s is forgotten", files[i].Name)
				}
			}
		}
	})
}
