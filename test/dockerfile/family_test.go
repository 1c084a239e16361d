package dockerfile_test

import (
	"bytes"
	"strings"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
)

// TestFamily: a step that was done upon a base of OCI's format gives an image of
// Docker's no layer of OCI's type, though the files of the bases are the same.
func TestFamily(t *testing.T) {
	f := embedded(t)
	f.write("file", "f")
	f.asDocker("docker.io/library/docker:1")
	const steps = "COPY file /\nRUN echo > /run-too\n"
	f.build("FROM BASE\n" + steps)
	f.build("FROM docker.io/library/docker:1\n" + steps)
	img, err := content.Resolve(f.ctx, f.Client, "built:1", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range append(img.Layers, img.Manifest) {
		if !strings.HasPrefix(l.MediaType, "application/vnd.docker.") {
			t.Errorf("%s in an image of Docker's format", l.MediaType)
		}
	}
}

// asDocker gives the base a second name, as an image of Docker's format.
func (f *fixture) asDocker(name string) {
	f.t.Helper()
	img, err := content.Resolve(f.ctx, f.Client, f.base, "")
	if err != nil {
		f.t.Fatal(err)
	}
	raw, err := cstore.ReadBlob(f.ctx, f.Client.ContentStore(), img.Manifest)
	if err != nil {
		f.t.Fatal(err)
	}
	raw = []byte(strings.NewReplacer(
		ocispec.MediaTypeImageManifest, images.MediaTypeDockerSchema2Manifest,
		ocispec.MediaTypeImageConfig, images.MediaTypeDockerSchema2Config,
		ocispec.MediaTypeImageLayerGzip, images.MediaTypeDockerSchema2LayerGzip,
	).Replace(string(raw)))
	ctx, release, err := lease.New(f.ctx, f.Client.LeasesService())
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = release(ctx) }()
	desc := ocispec.Descriptor{MediaType: images.MediaTypeDockerSchema2Manifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if err := cstore.WriteBlob(ctx, f.Client.ContentStore(), name, bytes.NewReader(raw), desc); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.Client.ImageService().Create(ctx, images.Image{Name: name, Target: desc}); err != nil {
		f.t.Fatal(err)
	}
}
