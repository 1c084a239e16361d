package veneer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// unpackImage makes sure of an image's snapshot, as [snapshot.Unpack] does.
// Containerd's error names a file of its own directories; where the layers'
// entries tell the reason, so does the error.
func unpackImage(ctx context.Context, e *engine.Engine, img *content.Image) (bool, error) {
	did, err := snapshot.Unpack(ctx, e.Client, img.Manifest, e.Snapshotter)
	if err == nil || ctx.Err() != nil || len(img.Missing) > 0 || errors.Is(err, unix.ENOSPC) {
		return did, err
	}
	r := &rootfs{engine: e, image: img, role: "image", noCache: true, log: slog.New(slog.DiscardHandler), spool: os.TempDir()}
	layers, why := r.indexes(ctx)
	if why == nil {
		_, why = tree.MergeContext(ctx, layers, tree.MergeOptions{Direct: appliesDirectly(e.Snapshotter)})
	}
	if why == nil || ctx.Err() != nil {
		return did, err
	}
	return did, fmt.Errorf("unpack image %s: %w (%w)", img.Manifest.Digest, why, err)
}
