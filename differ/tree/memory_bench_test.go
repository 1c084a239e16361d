package tree

import (
	"bytes"
	"testing"
)

// BenchmarkMemory is what a build pays for remembering the digests of the
// files of a tree.
func BenchmarkMemory(b *testing.B) {
	files := walkLocal(b, goSource(b))
	m := NewMemory()
	for i := range files {
		m.AddDigest(&files[i], Digest{1})
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
			loaded, err := LoadMemory(bytes.NewReader(stored.Bytes()))
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
