package verify

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/differ/tree/index"
)

// TestScanLayerBomb: what unpacks to more than the bound is given up there, whatever it is compressed with, and also
// where it is one file's content or what follows the archive.
func TestScanLayerBomb(t *testing.T) {
	const bound = 8 << 20
	for name, writer := range map[string]func(io.Writer) io.WriteCloser{
		"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"zstd": func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	} {
		var blob bytes.Buffer
		w := writer(&blob)
		if _, err := w.Write(make([]byte, 4*bound)); err != nil { // an empty archive, and more
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := scanLayer(t.Context(), bytes.NewReader(blob.Bytes()), digest.SHA256, layerBounds{bytes: bound}); !errors.Is(err, index.ErrLimit) {
			t.Errorf("%s: %d bytes: %v", name, blob.Len(), err)
		}
		x, compression, got, err := scanLayer(t.Context(), bytes.NewReader(blob.Bytes()), digest.SHA512, layerBounds{bytes: 4 * bound})
		if err != nil || x == nil || compression != name || got != digest.SHA512.FromBytes(make([]byte, 4*bound)) {
			t.Errorf("%s: %s, %s, %v", name, compression, got, err)
		}
	}
}
