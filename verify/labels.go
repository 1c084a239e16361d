package verify

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// labels checks the labels of a document that keep what it refers to from being
// removed by garbage collection.
func (v *verifier) labels(ctx context.Context, doc *content.Document, platform string, unpacked bool) error {
	if v.outside != nil {
		return nil
	}
	store := v.engine.Client.ContentStore()
	missing, err := content.Unlabelled(ctx, store, doc)
	if err != nil {
		return err
	}
	layers := 0
	for _, c := range missing {
		if images.IsLayerType(c.Desc.MediaType) {
			layers++
		}
	}
	// The daemon's discard_unpacked_layers leaves an image so: its layers are gone
	// and its snapshot is there.
	discarded := unpacked && !doc.IsIndex() && layers > 0 && layers == len(doc.Children)-1
	for _, c := range missing {
		f := Finding{
			Severity: SeverityError, Check: CheckLabel, Platform: platform, Object: doc.Desc.Digest,
			Message: fmt.Sprintf("%s is missing: garbage collection would remove %s %s", c.Label, kindOf(c.Desc), c.Desc.Digest),
		}
		if discarded && images.IsLayerType(c.Desc.MediaType) {
			f.Severity = SeverityWarning
		}
		if err := v.setLabel(ctx, f, doc.Desc.Digest, c.Label, c.Desc.Digest.String()); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(desc ocispec.Descriptor) string {
	switch {
	case images.IsLayerType(desc.MediaType):
		return "layer"
	case images.IsKnownConfig(desc.MediaType):
		return "config"
	case images.IsIndexType(desc.MediaType):
		return "index"
	case images.IsManifestType(desc.MediaType):
		return "manifest"
	}
	return "blob"
}

// layerLabels checks the labels from which containerd learns a layer's diff ID
// without reading the layer.
func (v *verifier) layerLabels(ctx context.Context, img *content.Image, platform string, unpacked bool) error {
	store := v.engine.Client.ContentStore()
	for i, l := range img.Layers {
		info, err := store.Info(ctx, l.Digest)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read labels of layer %s: %w", l.Digest, err)
		}
		want := img.DiffIDs[i].String()
		f := Finding{Check: CheckLabel, Platform: platform, Object: l.Digest}
		switch got := info.Labels[labels.LabelUncompressed]; {
		case got == want:
			continue
		case content.IsEncrypted(l.MediaType):
			continue // Without the keys the label cannot be checked.
		case got != "":
			f.Severity = SeverityError
			f.Message = fmt.Sprintf("%s is %s, but the diff ID is %s", labels.LabelUncompressed, got, want)
		case !unpacked || l.Digest == img.DiffIDs[i]:
			continue
		default:
			f.Severity = SeverityWarning
			f.Message = fmt.Sprintf("%s is missing: containerd has to read the layer to learn its diff ID", labels.LabelUncompressed)
		}
		if err := v.setLabel(ctx, f, l.Digest, labels.LabelUncompressed, want); err != nil {
			return err
		}
	}
	return nil
}
