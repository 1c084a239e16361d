package layer_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/veneer-build/veneer/differ/layer"
)

// shortWriter takes a number of bytes, and then nothing more, without a word.
type shortWriter struct{ room int }

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	return n, nil
}

// TestShortWrite: a writer that takes less than it is given, with no error, is one (PITFALLS F17).
func TestShortWrite(t *testing.T) {
	src := t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "f"), make([]byte, 1<<20), 0o644))
	changes := changesOf(t, src)
	for _, c := range []layer.Compression{layer.Gzip, layer.Zstd, layer.None} {
		b, err := layer.Write(t.Context(), io.Discard, changes, layer.Options{Compression: c})
		must(t, err)
		for _, missing := range []int64{1, b.Size / 2, b.Size} {
			w := &shortWriter{int(b.Size - missing)}
			if _, err := layer.Write(t.Context(), w, changes, layer.Options{Compression: c}); !errors.Is(err, io.ErrShortWrite) {
				t.Errorf("%s, the blob %d bytes short: %v", c, missing, err)
			}
		}
		for _, missing := range []int64{1, 1 << 20} {
			o := layer.Options{Compression: c, Tar: &shortWriter{int(b.UncompressedSize - missing)}}
			if _, err := layer.Write(t.Context(), io.Discard, changes, o); !errors.Is(err, io.ErrShortWrite) {
				t.Errorf("%s, the tar %d bytes short: %v", c, missing, err)
			}
		}
	}
}
