package content_test

import (
	"context"
	"errors"
	"io"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// shortStore has writers that take one byte less than they are given, without a word.
type shortStore struct{ cstore.Store }

func (s shortStore) Writer(ctx context.Context, opts ...cstore.WriterOpt) (cstore.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	return shortWriter{w}, err
}

type shortWriter struct{ cstore.Writer }

func (w shortWriter) Write(p []byte) (int, error) { return w.Writer.Write(p[:len(p)-1]) }

// TestShortWrite: a store that takes less than it is given, with no error, is one (PITFALLS F17).
func TestShortWrite(t *testing.T) {
	ctx, s := storetest.Open(t)
	store := shortStore{s.ContentStore()}
	w, err := content.NewLayerWriter(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 2<<20)); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a layer: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	b := storetest.JSON("application/json", `{"a":1}`)
	if err := content.WriteBlob(ctx, store, b.Descriptor, nil, b.Bytes); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a document: %v", err)
	}
	checkNoIngests(ctx, t, s)
}
