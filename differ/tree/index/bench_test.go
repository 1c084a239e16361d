package index

import (
	"fmt"
	"io"
	"testing"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/treetest"
	"github.com/veneer-build/veneer/test/harness"
)

// BenchmarkIndexBuilder makes the index of a layer of many files.
func BenchmarkIndexBuilder(b *testing.B) {
	files := treetest.LocalFiles(b, harness.GoSource(b))
	b.ReportAllocs()
	for b.Loop() {
		x, err := NewBuilder()
		if err != nil {
			b.Fatal(err)
		}
		for i := range files {
			rec := Record{Path: fmt.Sprintf("src/%d/%s", i/50, files[i].Name), Meta: files[i].Meta, Digest: tree.Digest{1}}
			if err := x.Add(&rec); err != nil {
				b.Fatal(err)
			}
		}
		if err := x.Finish(tree.Digest{1}); err != nil {
			b.Fatal(err)
		}
		if err := x.Encode(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
