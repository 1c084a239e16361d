package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/lease"
)

// EditOptions say what to change, and what becomes of it.
type EditOptions struct {
	Snapshotter string
	// Parent is the chain ID of the base; empty: an empty root file system.
	Parent digest.Digest
	// MediaType is the layer's; empty: the uncompressed OCI layer. 1.6 daemons
	// know no zstd, and none knows Docker's types.
	MediaType string
	// Epoch bounds the layer's times where the daemon honours it (from 2.0).
	Epoch *time.Time
	// Change writes into the root file system at dir, which is mounted for
	// this process until it returns. The path is not to be kept, and nothing
	// below it may stay open.
	Change func(ctx context.Context, dir string) error
}

// EditResult is the layer that holds the change, and its committed snapshot.
type EditResult struct {
	Blob    ocispec.Descriptor
	DiffID  digest.Digest
	ChainID digest.Digest
}

// Edit makes a layer from a snapshot: it mounts an active one, has it changed,
// lets the diff service compare it with its parent, and commits it under the
// chain ID that comes of that. The layer's blob is referred to by the lease in
// ctx only. On an error nothing is left.
//
// It needs the right to mount, and the service walks both trees whole.
func Edit(ctx context.Context, c *client.Client, o EditOptions) (_ EditResult, err error) {
	sn, err := service(c, o.Snapshotter)
	if err != nil {
		return EditResult{}, err
	}
	ctx, release, err := lease.New(ctx, c.LeasesService())
	if err != nil {
		return EditResult{}, err
	}
	defer func() { err = errors.Join(err, release(ctx)) }()

	a, err := prepare(ctx, sn, "edit", o.Parent.String())
	if err != nil {
		return EditResult{}, err
	}
	defer func() { err = errors.Join(err, a.remove(ctx)) }()
	if err := a.change(ctx, o.Change); err != nil {
		return EditResult{}, err
	}
	blob, err := compare(ctx, c, a, o)
	if err != nil {
		return EditResult{}, err
	}
	diffID, err := uncompressed(ctx, c, blob)
	if err != nil {
		return EditResult{}, err
	}
	res := EditResult{Blob: blob, DiffID: diffID, ChainID: ChainID(o.Parent, diffID)}
	return res, a.commit(ctx, res.ChainID.String())
}

// change mounts the snapshot for fn and makes what it wrote durable: the
// unmount does not do so for bind mounts, nor does it report errors.
func (a *active) change(ctx context.Context, fn func(context.Context, string) error) (err error) {
	m, err := mountTemp(a.mounts)
	if err != nil {
		return fmt.Errorf("mount snapshot to edit: %w", err)
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := fn(ctx, m.dir); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := syncFS(m.dir); err != nil {
		return fmt.Errorf("sync edited snapshot: %w", err)
	}
	return nil
}

// compare has the diff service write what the snapshot differs in from its parent.
func compare(ctx context.Context, c *client.Client, a *active, o EditOptions) (_ ocispec.Descriptor, err error) {
	lower, err := view(ctx, a.sn, "compare", o.Parent.String())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, lower.remove(ctx)) }()
	if o.MediaType == "" {
		o.MediaType = ocispec.MediaTypeImageLayer
	}
	opts := []diff.Opt{diff.WithMediaType(o.MediaType)}
	if o.Epoch != nil {
		opts = append(opts, diff.WithSourceDateEpoch(o.Epoch))
	}
	blob, err := c.DiffService().Compare(ctx, lower.mounts, a.mounts, opts...)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("compare snapshot with %s: %w", orScratch(o.Parent.String()), err)
	}
	return blob, nil
}

// uncompressed returns the diff ID of a layer that the diff service wrote.
func uncompressed(ctx context.Context, c *client.Client, blob ocispec.Descriptor) (digest.Digest, error) {
	if blob.MediaType == ocispec.MediaTypeImageLayer {
		return blob.Digest, nil
	}
	info, err := c.ContentStore().Info(ctx, blob.Digest)
	if err != nil {
		return "", fmt.Errorf("look up layer %s: %w", blob.Digest, err)
	}
	id, err := digest.Parse(info.Labels[labels.LabelUncompressed])
	if err != nil {
		return "", fmt.Errorf("read diff ID of layer %s: the diff service gave label %q: %w", blob.Digest, info.Labels[labels.LabelUncompressed], err)
	}
	return id, nil
}
