package archive_test

import (
	"errors"
	"io"
	"testing"

	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// shortWriter takes a number of bytes, and then nothing more, without a word.
type shortWriter struct{ room int }

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	return n, nil
}

// TestExportShortWrite: a writer that takes less than it is given, with no error, is one, at any byte of headers and
// blobs (PITFALLS F17).
func TestExportShortWrite(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, img.Blobs()...)
	items := []archive.Item{item(img.Manifest.Descriptor, "app:1")}
	size := len(export(ctx, t, s, nil, items...))
	for room := 0; room < size; room += 100 {
		_, err := archive.Export(ctx, s.ContentStore(), &shortWriter{room}, items, archive.ExportOptions{})
		if !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("room for %d of %d bytes: %v", room, size, err)
		}
	}
}
