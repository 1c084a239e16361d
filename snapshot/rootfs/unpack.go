package rootfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/snapshot"
)

// UnpackImage makes sure of an image's snapshot, as [snapshot.Unpack] does.
// Containerd's error names a file of its own directories; where the layers'
// entries tell the reason, so does the error.
func (o *Opener) UnpackImage(ctx context.Context, img *content.Image) (bool, error) {
	did, err := snapshot.Unpack(ctx, o.Client, img, o.Snapshotter)
	if err == nil || ctx.Err() != nil || len(img.Missing) > 0 || errors.Is(err, unix.ENOSPC) || img.Encryption().Any() {
		return did, unpackEncrypted(img, err)
	}
	layers, why := o.Of(img, "image").indexes(ctx)
	if why == nil {
		_, why = index.MergeContext(ctx, layers, index.MergeOptions{Direct: AppliesDirectly(o.Snapshotter)})
	}
	if why == nil || ctx.Err() != nil {
		return did, err
	}
	return did, fmt.Errorf("unpack image %s: %w (%w)", img.Manifest.Digest, why, err)
}
