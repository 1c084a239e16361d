package veneer

import (
	"context"

	"github.com/veneer-build/veneer/snapshot"
)

// unpackBase makes the base's snapshot if it is not there.
func (b *build) unpackBase(ctx context.Context) error {
	return b.rootfs(b.base, "base").unpack(ctx)
}

// unpack makes the new image's snapshot: containerd applies the layer to an
// active snapshot on the base's, which is committed under the new chain ID.
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
	why := b.engine.Unpacks()
	if why != nil {
		b.result.Warnings = append(b.result.Warnings, "the image is not unpacked: "+why.Error())
	}
	return why == nil
}
