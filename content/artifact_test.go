package content_test

import (
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// TestArtifacts: what an index lists beside images is passed over, whatever platform its entry claims.
func TestArtifacts(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	bom := storetest.NewArtifact("application/vnd.example.bom", "bom")
	absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("absent"), Size: 6, ArtifactType: "application/vnd.example.sig"}
	image := absent
	image.ArtifactType = ocispec.MediaTypeImageConfig // as go-containerregistry writes it
	if content.IsImage(ctx, s.ContentStore(), absent) || !content.IsImage(ctx, s.ContentStore(), image) {
		t.Error("what is not stored is judged by its entry")
	}
	for _, claims := range []ocispec.Descriptor{
		bom.Manifest.Descriptor,
		bom.Manifest.On("linux", "", ""),
		bom.Manifest.On("linux", "amd64", ""),
		bom.Manifest.On("unknown", "unknown", ""),
		absent,
	} {
		idx := storetest.NewIndex(claims, img.Manifest.On("linux", "amd64", ""))
		s.Put(ctx, t, append(append(img.Blobs(), bom.Blobs()...), idx)...)
		got, err := content.Manifests(ctx, s.ContentStore(), idx.Descriptor)
		if err != nil || len(got) != 1 || got[0].Digest != img.Manifest.Digest {
			t.Errorf("%v: images %v, %v", claims, got, err)
		}
		if r, err := content.ResolveTarget(ctx, s.ContentStore(), idx.Descriptor, "linux/amd64"); err != nil || r.Manifest.Digest != img.Manifest.Digest {
			t.Errorf("%v: resolved %+v, %v", claims, r, err)
		}
		docs, err := content.Documents(ctx, s.ContentStore(), idx.Descriptor)
		if err != nil || len(docs) != 3 || !docs[1].Beside || docs[2].Beside {
			t.Errorf("%v: documents %+v, %v", claims, docs, err)
		}
	}
}
