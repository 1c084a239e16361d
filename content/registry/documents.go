package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
)

// Documents reads an image of a registry without its layers: the index, the manifest
// of the platform and the config, some kilobytes. They are fetched into the engine's
// store and held until they are read. No name is set. Missing of the image is empty,
// since its layers are not looked for.
func Documents(ctx context.Context, e Engine, ref string, opts Options) (_ *content.Image, retErr error) {
	ctx, release, err := lease.New(ctx, e.LeasesService())
	if err != nil {
		return nil, err
	}
	defer func() { retErr = errors.Join(retErr, release(ctx)) }()
	r, err := Open(ctx, e, ref, opts)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", ref, err)
	}
	img, err := r.Image(ctx)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", r.Name, err)
	}
	img.Missing = nil
	return img, nil
}

// documents returns a handler that fetches what is no layer.
func (p *pull) documents(from remotes.Fetcher) (images.Handler, error) {
	below := images.FilterPlatforms(content.ChildrenHandler(p.store), p.match)
	if !p.opts.AllPlatforms {
		below = p.chooseOne(below, from)
	}
	one := images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if !isDocument(d.MediaType) {
			return nil, images.ErrStopHandler
		}
		_, err := p.fetchBlob(ctx, from, d)
		return nil, err
	})
	return images.Handlers(one, images.HandlerFunc(p.checkDocument), below), nil
}

// find resolves the name, and calls the handler for what it names.
func (p *pull) find(ctx context.Context, resolver remotes.Resolver, handler func(remotes.Fetcher) (images.Handler, error)) (ocispec.Descriptor, error) {
	from, err := resolver.Fetcher(ctx, p.name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var target ocispec.Descriptor
	err = p.opts.retrier().do(ctx, func(ctx context.Context) error {
		return overHosts(ctx, func(ctx context.Context) (err error) {
			target, err = p.resolve(ctx, resolver, from)
			return err
		})
	})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	h, err := handler(from)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return target, images.Dispatch(ctx, h, semaphore.NewWeighted(maxDownloads), target)
}
