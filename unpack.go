package veneer

import (
	"context"
	"errors"
	"os"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// unpackBase makes the base's snapshot if it is not there.
func (b *build) unpackBase(ctx context.Context) error {
	return b.rootfs(b.base, "base").unpack(ctx)
}

// mayUseDirs reports whether an engine's directories are this process's to use.
func mayUseDirs() bool { return os.Geteuid() == 0 && engine.Capable() == nil }

// startFill begins the new snapshot where its directories are this host's to
// write to: the layer is unpacked into it while it is being written. Elsewhere
// the diff service applies it when it is there.
func (b *build) startFill(ctx context.Context) error {
	if !mayUseDirs() || b.NoUnpack || b.engine.Unpacks() != nil {
		return nil //nolint:nilerr // that there is to be no snapshot is no failure
	}
	if err := b.unpackBase(ctx); err != nil {
		return err
	}
	fill, err := snapshot.NewFill(ctx, b.engine.Client, b.engine.Snapshotter, b.base.ChainID, func(dir string) error {
		return b.engine.Sees(ctx, dir)
	})
	if errors.Is(err, snapshot.ErrNoLayers) {
		b.log.Debug("the layer is applied by the diff service", "reason", err)
		return nil
	}
	b.fill = fill
	return err
}

// unpack makes the new image's snapshot: an active one on the base's, with the
// layer applied, is committed under the new chain ID.
func (b *build) unpack(ctx context.Context) error {
	if b.unpacked || !b.mayUnpack() {
		return nil
	}
	if err := b.unpackBase(ctx); err != nil {
		return err
	}
	b.unpacked = true
	if b.desc == nil {
		return nil
	}
	if b.fill != nil {
		return b.fill.Commit(ctx, snapshot.ChainID(b.base.ChainID, b.diffID))
	}
	return snapshot.Apply(ctx, b.engine.Client, b.engine.Snapshotter, snapshot.Layer{
		Parent: b.base.ChainID, DiffID: b.diffID, Blob: *b.desc,
	})
}

// mayUnpack says whether there is to be a snapshot; that there cannot be one is
// a warning, since the image is whole without it.
func (b *build) mayUnpack() bool {
	if b.NoUnpack {
		return false
	}
	ok, warning := b.engine.MayUnpack()
	if warning != "" {
		b.result.Warnings = append(b.result.Warnings, warning)
	}
	return ok
}
