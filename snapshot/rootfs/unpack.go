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

// UnpackImage makes sure that an image's snapshot exists, as [snapshot.Unpacker] does.
// If that fails, containerd's error names a file in containerd's directories. If the
// entries of the layers tell the reason, it is added to the error, unless that is
// [content.ErrCorrupt] already.
func (o *Opener) UnpackImage(ctx context.Context, img *content.Image) (bool, error) {
	did, err := snapshot.Unpacker{Client: o.Client, Snapshotter: o.Snapshotter, Host: o.Host, Steps: o.Steps}.Unpack(ctx, img)
	if err == nil || ctx.Err() != nil || len(img.Missing) > 0 || errors.Is(err, unix.ENOSPC) || errors.Is(err, content.ErrCorrupt) || img.Encryption().Any() {
		return did, unpackEncrypted(img, err)
	}
	layers, why := o.Of(img, "image").Indexes(ctx)
	if why == nil {
		_, why = index.Merge(ctx, layers, index.MergeOptions{Direct: AppliesDirectly(o.Snapshotter)})
	}
	if why == nil || ctx.Err() != nil {
		return did, err
	}
	return did, fmt.Errorf("unpack image %s: %w (%w)", img.Manifest.Digest, why, err)
}
