package rootfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/cache"
	"github.com/veneer-build/veneer/differ/tree/index"
)

// endsAfter ends at the second look.
type endsAfter struct {
	context.Context //nolint:containedctx // it is a context itself
	looks           int
}

func (c *endsAfter) Err() error {
	if c.looks++; c.looks > 1 {
		return context.Canceled
	}
	return nil
}

// An index that is not read to its end because of a signal stays in the cache.
func TestInterruptedIndexStays(t *testing.T) {
	var stored bytes.Buffer
	x := &index.Index{}
	if err := x.Encode(&stored); err != nil {
		t.Fatal(err)
	}
	layer := digest.FromString("layer")
	r := Files{Opener: &Opener{Cache: &cache.Cache{Dir: t.TempDir()}, Log: slog.New(slog.DiscardHandler)}}
	r.KeepIndex(t.Context(), layer, func(w io.Writer) error { _, err := w.Write(stored.Bytes()); return err })
	r.Image = &content.Image{Layers: []ocispec.Descriptor{{Digest: layer}}, DiffIDs: []digest.Digest{Digest(x.DiffID)}}
	f := form[*index.Index]{index.Decode, index.ScanLayer}
	if _, err := f.layer(&endsAfter{Context: t.Context()}, r, 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a signal: %v", err)
	}
	if _, err := f.layer(t.Context(), r, 0, nil); err != nil {
		t.Error(err)
	}
}

// An image without a name, as of an archive that is loaded, is called by its digest in errors.
func TestFilesAreNamed(t *testing.T) {
	img := &content.Image{Manifest: ocispec.Descriptor{Digest: digest.FromString("x")}}
	if got := new(Opener).Of(img, "image").String(); got != "image "+img.Manifest.Digest.String() {
		t.Errorf("%q", got)
	}
}
