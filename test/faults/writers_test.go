package faults_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// TestBrokenWriters: where what stands before a daemon breaks a writer's stream, the daemon's writer has ended when the
// lease does, so that the collection leaves no ingest's directory to nobody. (Of a stream that the daemon or the
// program ends: test/e2e.TestWriterEnds.)
func TestBrokenWriters(t *testing.T) {
	harness.RequireRoot(t)
	const rounds = 50
	d := harness.Start(t, harness.Containerd2)
	p := newProxy(t, d)
	e, err := engine.Open(t.Context(), engine.Options{Mode: engine.Containerd, Address: p.address, Root: t.TempDir()})
	must(t, err)
	defer func() { must(t, e.Close()) }()
	data := bytes.Repeat([]byte("veneer"), 1000)
	// Where no blob ever was, the daemon collects nothing.
	kept := e.Context(t.Context())
	must(t, cstore.WriteBlob(kept, e.Client.ContentStore(), "kept", bytes.NewReader(data), ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}))
	left := 0
	for i := range rounds {
		ctx, release, err := lease.New(e.Context(t.Context()), e.Client.LeasesService())
		must(t, err)
		w, err := cstore.OpenWriter(ctx, e.Client.ContentStore(), cstore.WithRef("blob"))
		must(t, err)
		_, err = w.Write(data)
		must(t, err)
		p.arm(firstBreaks{errLost})
		if _, err := w.Write(data); err == nil {
			t.Fatal("the stream did not break")
		}
		p.arm(nil)
		must(t, w.Close(), release(ctx, leases.SynchronousDelete))
		dirs, err := filepath.Glob(filepath.Join(d.Root(), "io.containerd.content.v1.content", "ingest", "*"))
		must(t, err)
		if len(dirs) > left {
			t.Errorf("round %d leaves some of %s", i, dirs)
		}
		left = len(dirs)
	}
}

// firstBreaks is a hook that answers the first call with an error, in the daemon's place.
type firstBreaks struct{ err error }

func (b firstBreaks) before(_ context.Context, c *call) error {
	if c.n == 1 {
		return b.err
	}
	return nil
}

func (b firstBreaks) after(context.Context, *call) error { return nil }
