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

// Pull fetches an image as [registry.Pull] does, unpacks it, and names it. If it
// fetches all platforms, it unpacks the host's only. If the engine cannot unpack (see
// [engine.Engine.MayUnpack]), Pull only fetches the image, and may pass a warning to
// opts.Notify. opts.Ready is called before the image is unpacked.
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
