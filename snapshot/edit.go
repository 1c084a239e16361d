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

// EditOptions say how to change a snapshot, and how to store the change.
type EditOptions struct {
	Snapshotter string
	// Parent is the chain ID of the base; empty: an empty root file system.
	Parent digest.Digest
	// MediaType is the layer's media type; empty: an uncompressed OCI layer. Daemons
	// of version 1.6 do not know zstd, and no daemon knows Docker's types.
	MediaType string
	// Epoch is the latest time in the layer. Daemons before 2.0 ignore it.
	Epoch *time.Time
	// Labels are those of the layer's blob from its beginning; nil: none.
	Labels map[string]string
	// Change writes into the root file system, which is mounted at dir until Change
	// returns. It must not keep the path, or leave files below it open.
	Change func(ctx context.Context, dir string) error
}

// EditResult is the layer that holds the change, and its committed snapshot.
type EditResult struct {
	Blob    ocispec.Descriptor
	DiffID  digest.Digest
	ChainID digest.Digest
}

// Edit makes a layer from a snapshot. It mounts an active snapshot, lets o.Change
// change it, lets the diff service compare it with its parent, and commits it under
// its chain ID. Only the lease in ctx keeps the layer's blob. After an error nothing
// is left.
//
// Edit needs the right to mount. The diff service walks through both trees
// completely.
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

// change mounts the snapshot, calls fn, and makes what it wrote durable. Unmounting
// alone does not: it does not sync bind mounts, and reports no errors of writing.
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

// compare lets the diff service write the difference from the parent as a layer.
func compare(ctx context.Context, c *client.Client, a *active, o EditOptions) (_ ocispec.Descriptor, err error) {
	lower, err := view(ctx, a.sn, "compare", o.Parent.String())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, lower.remove(ctx)) }()
	if o.MediaType == "" {
		o.MediaType = ocispec.MediaTypeImageLayer
	}
	opts := []diff.Opt{diff.WithMediaType(o.MediaType), diff.WithLabels(o.Labels)}
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
