package archive_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// wholeDelta is a delta of a layer that a source has and of one that it has not.
func wholeDelta(t *testing.T) (storetest.Store, *delta.Made, func() ([]byte, *archive.Exported, error)) {
	t.Helper()
	ctx, s := storetest.Open(t)
	old := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	next := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	s.Put(ctx, t, next.Blobs()...)
	s.Put(ctx, t, old.Manifest, old.Config)
	resolve := func(d ocispec.Descriptor) *content.Image {
		img, err := content.ResolveTarget(ctx, s.ContentStore(), d, "")
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	d := &delta.Delta{Image: resolve(next.Manifest.Descriptor)}
	source := resolve(old.Manifest.Descriptor)
	d.Sources = []delta.Source{{Manifest: source.Manifest.Digest, Config: source.ConfigDesc.Digest, Chain: source.ChainID}}
	for i, l := range d.Image.Layers {
		d.Layers = append(d.Layers, delta.Layer{Target: l, DiffID: d.Image.DiffIDs[i], Size: -1})
	}
	d.Layers[1].Kind, d.Layers[1].Blob = delta.Whole, d.Image.Layers[1]
	made := &delta.Made{Delta: d}
	return s, made, func() ([]byte, *archive.Exported, error) {
		var b bytes.Buffer
		result, err := archive.ExportDelta(ctx, s.ContentStore(), &b, "docker.io/library/app:2", made)
		return b.Bytes(), result, err
	}
}

// TestExportDelta: the archive is a layout of one artifact, documents first, the same bytes each time and as many as
// were said before.
func TestExportDelta(t *testing.T) {
	_, made, write := wholeDelta(t)
	data, result, err := write()
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, data)
	planned, size, err := archive.PlanDelta("docker.io/library/app:2", made)
	if err != nil || *planned != *result || size != int64(len(data)) || result.Left != 1 || result.LeftBytes != made.Image.Layers[0].Size {
		t.Errorf("planned %+v and %d, written %+v and %d: %v", planned, size, result, len(data), err)
	}
	if again, _, err := write(); err != nil || !bytes.Equal(data, again) {
		t.Errorf("other bytes: %v", err)
	}
	desc, manifest, err := made.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	blobs := 0
	for _, f := range untar(t, data) {
		names = append(names, f.name)
		switch {
		case f.name == "index.json":
			var idx ocispec.Index
			if err := json.Unmarshal(f.data, &idx); err != nil || len(idx.Manifests) != 1 || idx.Manifests[0].Digest != desc.Digest ||
				idx.Manifests[0].Annotations[delta.AnnotationName] != "docker.io/library/app:2" || idx.Manifests[0].ArtifactType != delta.ArtifactType {
				t.Errorf("index %s, %v", f.data, err)
			}
		case strings.HasPrefix(f.name, "blobs/sha256/"):
			if blobs++; digest.FromBytes(f.data).Encoded() != strings.TrimPrefix(f.name, "blobs/sha256/") {
				t.Errorf("%s has another content", f.name)
			}
			if blobs == 1 && !bytes.Equal(f.data, manifest) {
				t.Errorf("the manifest is not the first blob")
			}
		}
	}
	if blobs != result.Blobs || blobs != 5 {
		t.Errorf("%d blobs in %q", blobs, names)
	}
}

// TestExportDeltaFails: a blob that is damaged is not written as if it were whole.
func TestExportDeltaFails(t *testing.T) {
	s, made, write := wholeDelta(t)
	damage(t, s.BlobPath(made.Image.Layers[1].Digest))
	if _, _, err := write(); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("a damaged layer: %v", err)
	}
	made.Sources = nil
	if _, _, err := archive.PlanDelta("", made); err == nil {
		t.Error("a delta without a source")
	}
}
