package veneer

import (
	"context"
	"errors"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/layer"
)

// layerEpoch bounds the times in the layer. Where the result has to show what
// another image does, they are that one's.
func (b *build) layerEpoch() *time.Time {
	if b.compareFiles != nil {
		return nil
	}
	return b.Epoch
}

// makeLayer writes the layer, and lets go of what it is made of at once: a
// container that was paused for it goes on.
func (b *build) makeLayer(ctx context.Context) error {
	if b.changes != nil {
		b.result.Changes = b.changes.Summary()
	}
	return errors.Join(b.writeLayer(ctx), b.closeSources())
}

// writeLayer writes the changes into the content store.
func (b *build) writeLayer(ctx context.Context) (err error) {
	if b.empty() {
		return nil
	}
	b.releaseListings()
	if b.Differ == DifferService {
		return b.serviceLayer(ctx)
	}
	mediaType, err := content.LayerMediaType(b.base.Docker, string(b.Compression))
	if err != nil {
		return err
	}
	w, err := content.NewLayerWriter(ctx, b.engine.Client.ContentStore())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	opts := layer.Options{Compression: b.Compression, Level: b.CompressionLevel, Epoch: b.layerEpoch(), Drain: true, Count: b.steps.count}
	if err := b.startFill(ctx); err != nil {
		return err
	}
	if b.fill != nil {
		// Whoever can write to the snapshot reads the next base there: if ever
		// an index is needed, the layer is scanned for it.
		opts.Tar, opts.NoIndex = b.fill, true
	}
	b.blob, err = layer.Write(ctx, w, b.changes, opts)
	if err != nil {
		return err
	}
	if b.fill != nil {
		b.fill.End()
	}
	b.diffID = toDigest(b.blob.DiffID)
	b.desc = &ocispec.Descriptor{MediaType: mediaType, Digest: toDigest(b.blob.Digest), Size: b.blob.Size}
	return w.Commit(ctx, b.desc.Size, b.desc.Digest, content.LayerLabels(b.diffID))
}
