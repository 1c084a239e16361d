package tree

import (
	"fmt"
	"io"
	"testing"
)

// BenchmarkIndexBuilder makes the index of a layer of many files.
func BenchmarkIndexBuilder(b *testing.B) {
	files := walkLocal(b, goSource(b))
	b.ReportAllocs()
	for b.Loop() {
		x, err := NewIndexBuilder()
		if err != nil {
			b.Fatal(err)
		}
		for i := range files {
			rec := Record{Path: fmt.Sprintf("src/%d/%s", i/50, files[i].Name), Meta: files[i].Meta, Digest: Digest{1}}
			if err := x.Add(&rec); err != nil {
				b.Fatal(err)
			}
		}
		if err := x.Finish(Digest{1}); err != nil {
			b.Fatal(err)
		}
		if err := x.Encode(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
