package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/internal/recompress"
)

// layerOrTar makes one layer. Where its blob cannot be made, and this engine keeps no
// blobs anyway, it makes the tar alone, as a layer that is not compressed.
func (r *rebuilder) layerOrTar(ctx context.Context, layer delta.Layer) (ocispec.Descriptor, error) {
	made, err := r.layer(ctx, layer, r.opts.Recompress)
	if !errors.Is(err, ErrNotRebuilt) || layer.Kind != delta.Diff || !r.keepsNoBlobs() {
		return made, err
	}
	if r.unmade == nil {
		r.unmade = err
	}
	layer.Target = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: layer.DiffID, Size: max(layer.Size, 0)}
	if r.delta.Image.Docker {
		layer.Target.MediaType = images.MediaTypeDockerSchema2Layer
	}
	layer.Generation = recompress.None
	return r.layer(ctx, layer, true)
}

// keepsNoBlobs reports whether this engine has layers of a source image as snapshots
// only: containerd discards blobs that it has unpacked if it is told to. Such an engine
// needs no blob of the new layer either, and its snapshot is right by its diff ID.
func (r *rebuilder) keepsNoBlobs() bool {
	return r.plain && r.opts.Snapshots != nil && slices.ContainsFunc(r.olds, func(img *content.Image) bool { return len(img.Missing) > 0 })
}

// unpacksOnly reports whether no blob is made of a layer that is unpacked while it is made:
// this engine has no blob of any layer of the source images, and so shall have none of this
// one. What is unpacked has the layer's diff ID.
func (r *rebuilder) unpacksOnly() bool {
	return !r.storing && r.unpacking.beside != nil && r.discards()
}

// discards reports whether this engine keeps no blobs, so far as the source images tell.
func (r *rebuilder) discards() bool {
	return r.keepsNoBlobs() && !slices.ContainsFunc(r.olds, func(img *content.Image) bool { return len(img.Missing) < max(len(img.Layers), 1) })
}

// unpackPlain makes the snapshot of an image of which there are tars in place of blobs.
// They go when the lease is released. The image stays as it is: its layers are those
// of the snapshot.
func (r *rebuilder) unpackPlain(ctx context.Context, name string) error {
	if r.unmade == nil {
		return nil
	}
	r.spare = true
	plain := *r.delta.Image
	plain.Layers, plain.Missing = r.layers, nil
	if err := r.opts.Snapshots.Unpack(ctx, name, &plain); err != nil {
		return err
	}
	there, err := r.opts.Snapshots.Has(ctx, plain.ChainID)
	if err != nil {
		return fmt.Errorf("look for the snapshot of %s: %w", name, err)
	}
	if !there { // Nothing is to be unpacked, or can be.
		return r.unmade
	}
	return nil
}
