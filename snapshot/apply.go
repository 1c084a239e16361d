package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
)

// Layer is one layer of a chain.
type Layer struct {
	// Parent is the chain ID of the layers below; empty: there are none.
	Parent digest.Digest
	// ChainID names the committed snapshot; empty: it is derived from Parent and
	// DiffID.
	ChainID digest.Digest
	// DiffID is the digest of the uncompressed tar.
	DiffID digest.Digest
	// Blob is the layer as it is stored.
	Blob ocispec.Descriptor
}

// Apply makes the committed snapshot of a layer on its parent, through the diff
// service. A nil error promises that the snapshot exists, durably, and that the
// blob's content has the diff ID. The blob then has a label that says so. If the
// snapshot exists already, Apply only checks the blob. After an error nothing is
// left. Concurrent calls for one layer all succeed.
func Apply(ctx context.Context, c *client.Client, snapshotter string, l Layer) (err error) {
	sn, err := service(c, snapshotter)
	if err != nil {
		return err
	}
	ctx, release, err := lease.New(ctx, c.LeasesService())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release(ctx)) }()
	if l.ChainID == "" {
		l.ChainID = ChainID(l.Parent, l.DiffID)
	}
	if ok, err := Exists(ctx, sn, l.ChainID.String()); ok || err != nil {
		return cmp.Or(err, checkBlob(ctx, c, l))
	}
	a, err := prepare(ctx, sn, "apply", l.Parent.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.remove(ctx)) }()
	got, err := c.DiffService().Apply(ctx, l.Blob, a.mounts, diff.WithSyncFs(true))
	if err != nil {
		return fmt.Errorf("apply layer %s: %w", l.Blob.Digest, err)
	}
	if got.Digest != l.DiffID {
		return fmt.Errorf("apply layer %s: its content is %s, but the config says %s: %w", l.Blob.Digest, got.Digest, l.DiffID, content.ErrCorrupt)
	}
	if err := syncMounts(a.mounts); err != nil {
		return fmt.Errorf("sync snapshot of layer %s: %w", l.Blob.Digest, err)
	}
	// The content is verified, so set the label. This comes before the commit: a
	// caller that finds the snapshot applies nothing, and would not set it.
	if err := content.SetLabels(ctx, c.ContentStore(), l.Blob.Digest, content.LayerLabels(l.DiffID)); err != nil {
		return err
	}
	return a.commit(ctx, l.ChainID.String())
}
