package veneer

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
)

type (
	// RegistryOptions say how to talk to registries, see [registry.Options].
	RegistryOptions = registry.Options
	// BlobEvent is how far one blob of a transfer has come.
	BlobEvent = registry.Event
)

// Pulled is an image that was pulled.
type Pulled struct {
	images.Image
	// Delta tells of the delta below the file that was used; nil: none was.
	Delta    *PulledDelta
	Warnings []Notice
}

// Pull fetches an image as [registry.Pull] does, unpacks it, and names it. If it
// fetches all platforms, it unpacks the host's only. If the engine cannot unpack (see
// [engine.Engine.MayUnpack]), Pull only fetches the image, and may pass a warning to
// opts.Notify. opts.Ready is called before the image is unpacked.
//
// If the registry has a delta of the image from one that is here (see [PushDeltas]), and
// that is less than the layers, the layers are made of it. The image is the same. Unless
// opts.NoDelta is set.
func Pull(ctx context.Context, e *engine.Engine, ref string, opts RegistryOptions) (Pulled, error) {
	return PullTelling(ctx, e, ref, opts, nil)
}

// PullTelling is [Pull] that tells how the unpacking goes on, which is a step; to is
// told nothing of the transfer before, as opts.Progress is. It may be nil.
func PullTelling(ctx context.Context, e *engine.Engine, ref string, opts RegistryOptions, to Progress) (Pulled, error) {
	steps := progress.New(to)
	var pulled Pulled
	ready := opts.Ready
	unpacks, warning := e.MayUnpack()
	if warning != nil {
		pulled.Warnings = append(pulled.Warnings, fault.NoticeOf(warning))
	}
	deltas := &deltaPull{engine: e, noUnpack: !unpacks, log: opts.Log}
	var early early
	opts.Ready = func(ctx context.Context, img *content.Image) error {
		if ready != nil {
			if err := ready(ctx, img); err != nil {
				return err
			}
		}
		if !unpacks || opts.AllPlatforms && !platforms.Default().Match(img.Platform) {
			return nil
		}
		steps.Start("unpack")
		if err := early.end(ctx, img, steps); err != nil {
			return err
		}
		_, err := build.UnpackImage(ctx, e, img, steps)
		return err
	}
	if opts.Layers == nil {
		opts.Layers = func(ctx context.Context, r *registry.Remote, img *content.Image) error {
			if !opts.NoDelta {
				if err := deltas.layers(ctx, r, img); err != nil {
					return err
				}
			}
			if unpacks {
				early.once = r.CameOnce
				early.beside = r.Meanwhile(ctx, early.of(img, opts.Log, func(ctx context.Context, steps *progress.Steps) error {
					return build.UnpackArriving(ctx, e, img, r.Arriving, steps)
				}))
			}
			return nil
		}
	}
	var err error
	pulled.Image, err = Fetch(ctx, e, ref, opts)
	pulled.Delta, pulled.Warnings = deltas.done, append(pulled.Warnings, deltas.warnings...)
	return pulled, err
}

// Fetch fetches an image and names it, and makes no snapshots: see [registry.Pull]. It
// uses no delta.
func Fetch(ctx context.Context, e *engine.Engine, ref string, opts RegistryOptions) (images.Image, error) {
	return registry.Pull(e.Context(ctx), e.Client, ref, opts)
}

// Push sends an image to the registry that its name says: see [registry.Push].
func Push(ctx context.Context, e *engine.Engine, ref string, opts RegistryOptions) (ocispec.Descriptor, error) {
	return registry.Push(e.Context(ctx), e.Client, ref, opts)
}
