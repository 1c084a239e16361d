package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	ctrdarchive "github.com/containerd/containerd/v2/core/images/archive"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/test/harness"
)

// layout writes an image as an OCI layout, by containerd's exporter, and returns the directory.
func (p *place) layout(t *testing.T, manifest ocispec.Descriptor) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(file)
	must(t, err)
	err = ctrdarchive.Export(p.ctx, p.engine.Client.ContentStore(), f, ctrdarchive.WithManifest(manifest, "image:1"))
	must(t, err, f.Close())
	return harness.Extract(t, file)
}

// applied unpacks the image's layers with containerd's archive.Apply into a plain directory.
func (p *place) applied(t *testing.T, manifest ocispec.Descriptor) string {
	t.Helper()
	img, err := content.ResolveTarget(p.ctx, p.engine.Client.ContentStore(), manifest, "")
	must(t, err)
	dir := t.TempDir()
	for _, l := range img.Layers {
		must(t, p.apply(dir, l))
	}
	return dir
}

func (p *place) apply(dir string, layer ocispec.Descriptor) (err error) {
	blob, err := content.ReadBlob(p.ctx, p.engine.Client.ContentStore(), layer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	r, err := compression.DecompressStream(blob)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	_, err = archive.Apply(p.ctx, dir, r)
	return err
}
