package e2e

import (
	"context"
	"io"
	"maps"
	"slices"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/snapshot"
)

// stored lists the blobs and the snapshots of the namespace.
func (p *place) stored(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	err := p.engine.Client.ContentStore().Walk(p.ctx, func(info cstore.Info) error {
		all["blob "+info.Digest.String()] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = p.engine.Client.SnapshotService(p.engine.Snapshotter).Walk(p.ctx, func(_ context.Context, info snapshots.Info) error {
		all["snapshot "+info.Name] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (p *place) collect(t *testing.T) {
	t.Helper()
	if err := p.engine.CollectGarbage(p.ctx); err != nil {
		t.Fatal(err)
	}
}

// wantComplete fails the test unless every blob of the image can be read and has its digest, and the snapshot is there.
func (p *place) wantComplete(t *testing.T, name string) {
	t.Helper()
	img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, desc := range append([]ocispec.Descriptor{img.Manifest, img.ConfigDesc}, img.Layers...) {
		p.wantBlob(t, desc)
	}
	ok, err := snapshot.Exists(p.ctx, p.engine.Client.SnapshotService(p.engine.Snapshotter), img.ChainID.String())
	if err != nil || !ok {
		t.Errorf("%s has no snapshot %s: %v", name, img.ChainID, err)
	}
}

// wantBlob reads a blob without the code of the project that would check it.
func (p *place) wantBlob(t *testing.T, desc ocispec.Descriptor) {
	t.Helper()
	r, err := p.engine.Client.ContentStore().ReaderAt(p.ctx, desc)
	if err != nil {
		t.Errorf("blob %s: %v", desc.Digest, err)
		return
	}
	defer r.Close()
	got, err := digest.FromReader(io.NewSectionReader(r, 0, r.Size()))
	if err != nil || got != desc.Digest || r.Size() != desc.Size {
		t.Errorf("blob %s of %d bytes has digest %s and %d bytes: %v", desc.Digest, desc.Size, got, r.Size(), err)
	}
}

// removeAll removes the images and fails the test unless garbage collection then brings back what was stored before.
func (p *place) removeAll(t *testing.T, before map[string]bool, names ...string) {
	t.Helper()
	if _, err := removeNames(p, names, false); err != nil {
		t.Fatal(err)
	}
	p.collect(t)
	if after := p.stored(t); !maps.Equal(before, after) {
		maps.DeleteFunc(after, func(k string, _ bool) bool { return before[k] })
		t.Errorf("left in the store: %q", slices.Sorted(maps.Keys(after)))
	}
}

// removeNames removes names of images, to which nothing objects.
func removeNames(p *place, refs []string, sync bool) ([]images.Image, error) {
	return content.RemoveIf(p.ctx, p.engine.Client, refs, sync, func(context.Context, []images.Image) error { return nil })
}
