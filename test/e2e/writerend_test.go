package e2e

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/test/harness"
)

// TestWriterEnds: a writer that is given up, closed or cancelled, has ended in the daemon when Close returns. A collection
// that came before would leave the ingest's directory to nobody.
func TestWriterEnds(t *testing.T) {
	harness.RequireRoot(t)
	const rounds = 100
	data := bytes.Repeat([]byte("veneer"), 100_000)
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			p := newPlace(t, d, "overlayfs")
			// Where no blob ever was, the daemon collects nothing.
			must(t, content.WriteBlob(p.ctx, p.engine.Client.ContentStore(), ocispec.Descriptor{Digest: digest.FromString("blob"), Size: 4}, nil, []byte("blob")))
			left := 0
			for i := range rounds {
				ctx, release, err := lease.New(p.ctx, p.engine.Client.LeasesService())
				must(t, err)
				writing, cancel := context.WithCancel(ctx)
				w, err := cstore.OpenWriter(writing, p.engine.Client.ContentStore(), cstore.WithRef(lease.NewRef("end")))
				must(t, err)
				_, err = w.Write(data)
				must(t, err)
				if i%2 == 0 {
					cancel()
				}
				if err := w.Close(); err != nil && i%2 == 1 {
					t.Error(err)
				}
				cancel()
				must(t, release(ctx, leases.SynchronousDelete))
				dirs, err := filepath.Glob(filepath.Join(d.Root(), "io.containerd.content.v1.content", "ingest", "*"))
				must(t, err)
				if len(dirs) > left {
					t.Errorf("round %d leaves some of %s", i, dirs)
				}
				left = len(dirs)
			}
		})
	}
}
