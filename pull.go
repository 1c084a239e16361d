package veneer

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
)

// Pull fetches an image, makes the snapshots of those of its layers that have
// none, and names it: [registry.Pull] with an image that can be run. Of all
// platforms the host's is unpacked. Where the engine cannot unpack (see
// [engine.Engine.MayUnpack]) the image is just fetched, and opts.Notify told if
// that is a warning. opts.Ready is called before an image is unpacked.
func Pull(ctx context.Context, e *engine.Engine, ref string, opts registry.Options) (images.Image, error) {
	ready := opts.Ready
	unpacks, warning := e.MayUnpack()
	if warning != "" && opts.Notify != nil {
		opts.Notify("warning: " + warning)
	}
	opts.Ready = func(ctx context.Context, img *content.Image) error {
		if ready != nil {
			if err := ready(ctx, img); err != nil {
				return err
			}
		}
		if !unpacks || opts.AllPlatforms && !platforms.Default().Match(img.Platform) {
			return nil
		}
		_, err := build.UnpackImage(ctx, e, img)
		return err
	}
	return registry.Pull(e.Context(ctx), e.Client, ref, opts)
}
