package snapshot

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/internal/progress"
)

// Unpack makes sure that the snapshot of an image exists, and that the image and the
// lease in ctx keep it. It reports whether it made any snapshot. Layers must be in the
// content store only if their snapshots are missing. A nil error promises that all
// stored layers have the content of their diff IDs. steps are told of each layer that
// gets a snapshot, and of its stored bytes.
func Unpack(ctx context.Context, c *client.Client, img *content.Image, snapshotter string, steps *progress.Steps) (did bool, err error) {
	sn, err := service(c, snapshotter)
	if err != nil {
		return false, err
	}
	ctx, release, err := lease.New(ctx, c.LeasesService())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, release(ctx)) }()

	layers := layersOf(img)
	if len(layers) == 0 {
		return false, nil
	}
	top := layers[len(layers)-1].ChainID
	// Hold it before looking for it. If it exists then, it stays.
	if err := Hold(ctx, c, snapshotter, top); err != nil {
		return false, err
	}
	missing, err := firstMissing(ctx, sn, layers)
	if err != nil {
		return false, err
	}
	for _, l := range layers[:missing] {
		if err := checkBlob(ctx, c, l); err != nil {
			return false, unpackError(img, l, err)
		}
	}
	if missing < len(layers) {
		steps.Total(func() (files, bytes int64) {
			for _, l := range layers[missing:] {
				files, bytes = files+1, bytes+l.Blob.Size
			}
			return files, bytes
		})
	}
	for _, l := range layers[missing:] {
		if err := Apply(ctx, c, snapshotter, l); err != nil {
			return did, unpackError(img, l, err)
		}
		steps.Count(1, l.Blob.Size)
		did = true
	}
	return did, content.KeepSnapshot(ctx, c.ContentStore(), img, snapshotter)
}

func unpackError(img *content.Image, l Layer, err error) error {
	err = fmt.Errorf("unpack image %s: %w", img.Manifest.Digest, err)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w; neither the snapshot nor the blob of layer %s is here, so pull or load the image again", err, l.Blob.Digest)
	}
	return err
}

// Hold adds a chain's snapshot to the lease in ctx. The snapshot need not exist. If it
// is found afterwards, it stays. Without a lease, Hold does nothing.
func Hold(ctx context.Context, c *client.Client, snapshotter string, chainID digest.Digest) error {
	if err := lease.AddSnapshot(ctx, c.LeasesService(), snapshotter, chainID.String()); err != nil {
		return fmt.Errorf("add snapshot %s to lease: %w", chainID, err)
	}
	return nil
}

// firstMissing returns the index of the lowest layer above all those whose
// snapshots exist. A snapshot's parents exist with it.
func firstMissing(ctx context.Context, sn snapshots.Snapshotter, layers []Layer) (int, error) {
	for n := len(layers); n > 0; n-- {
		ok, err := Exists(ctx, sn, layers[n-1].ChainID.String())
		if ok || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// layersOf returns an image's layers, bottom first.
func layersOf(img *content.Image) []Layer {
	layers := make([]Layer, len(img.Layers))
	var parent digest.Digest
	for i, blob := range img.Layers {
		layers[i] = Layer{Parent: parent, ChainID: ChainID(parent, img.DiffIDs[i]), DiffID: img.DiffIDs[i], Blob: blob}
		parent = layers[i].ChainID
	}
	return layers
}
