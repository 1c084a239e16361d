package layer_test

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/test/harness"
)

// BenchmarkWrite writes a layer of real files, of which all are new.
func BenchmarkWrite(b *testing.B) {
	src, err := disk.OpenLocal(filepath.Join(harness.GoSource(b), "cmd"))
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	empty, err := disk.OpenLocal(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer empty.Close()
	changes, err := differ.NewChanges(b.Context(), empty)
	if err != nil {
		b.Fatal(err)
	}
	t := differ.Target{Op: differ.Sync, Name: "sync", Source: src, Dest: "/", Owner: differ.OwnerRoot, ForceDelete: true}
	if err := changes.Apply(b.Context(), t, differ.Options{}); err != nil {
		b.Fatal(err)
	}
	for _, c := range []layer.Compression{layer.Gzip, layer.Zstd, layer.None} {
		b.Run(string(c), func(b *testing.B) {
			b.ReportAllocs()
			var blob *layer.Blob
			for b.Loop() {
				if blob, err = layer.Write(b.Context(), io.Discard, changes, layer.Options{Compression: c}); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(blob.UncompressedSize)
			b.ReportMetric(float64(blob.Size), "B-stored")
		})
	}
}
