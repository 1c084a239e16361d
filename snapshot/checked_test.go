package snapshot_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot"
)

// Where the snapshots of an image's diff IDs are there, its blobs still have to
// be what the diff IDs say: they are read once, and labelled.
func TestUnpackChecksBlobs(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		base := w.base("checked")
		w.apply(base...)
		tc := tartest.TarContext{}
		label := func(l snapshot.Layer) string {
			info, err := e.Client.ContentStore().Info(w.ctx, l.Blob.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return info.Labels["containerd.io/uncompressed"]
		}
		unpack := func(layers ...snapshot.Layer) error {
			did, err := unpackImage(w.ctx, e, e.Snapshotter, w.image(layers), progress.New(nil))
			if did {
				t.Error("something was unpacked")
			}
			return err
		}

		lie := w.layer(base[0].ChainID, tc.File("etc/new", []byte("evil"), 0o600))
		lie.DiffID = base[1].DiffID
		cut := base[1]
		cut.Blob = w.blob(ocispec.MediaTypeImageLayerGzip, []byte("\x1f\x8b no gzip at all"))
		for what, l := range map[string]snapshot.Layer{"another content": lie, "no content": cut} {
			for range 2 {
				if err := unpack(base[0], l); err == nil || what == "another content" && !errors.Is(err, content.ErrCorrupt) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if got := label(l); got != "" {
				t.Errorf("%s: labelled %s", what, got)
			}
			l.ChainID = ""
			if err := snapshot.Apply(w.ctx, e.Client, e.Snapshotter, l); err == nil {
				t.Errorf("%s is applied", what)
			}
		}

		honest := base[1]
		honest.Blob = w.blob(ocispec.MediaTypeImageLayerGzip, repack(t, w, base[1].Blob))
		for range 2 {
			if err := unpack(base[0], honest); err != nil {
				t.Error(err)
			}
		}
		if got := label(honest); got != honest.DiffID.String() {
			t.Errorf("labelled %q", got)
		}
		secret := base[1]
		secret.Blob = w.blob(ocispec.MediaTypeImageLayerGzip+"+encrypted", []byte("who knows"))
		if err := unpack(base[0], secret); err != nil || label(secret) != "" {
			t.Errorf("encrypted: %v, labelled %q", err, label(secret))
		}
		secret.Blob.Digest = digest.FromString("nowhere")
		if err := unpack(base[0], secret); err != nil {
			t.Errorf("not stored: %v", err)
		}
	})
}

// repack compresses a blob in another way.
func repack(t *testing.T, w *world, blob ocispec.Descriptor) []byte {
	t.Helper()
	r, err := content.ReadBlob(w.ctx, w.e.Client.ContentStore(), blob)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	to, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, z); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
