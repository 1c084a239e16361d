package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// Pull fetches an image into the engine's store and records it under its
// normalised name; it does not unpack it. What the engine has already is not
// fetched again, and an interrupted layer is continued. Passing failures are
// retried, see [Options].Backoff. The name is recorded last, when all is
// stored and checked; after an error nothing new stays.
//
// It fetches by the parts of containerd's client rather than by its Pull,
// which needs a daemon and replaces the labels of an existing record.
func Pull(ctx context.Context, c *client.Client, ref string, opts Options) (_ images.Image, retErr error) {
	name, err := content.Normalize(ref)
	if err != nil {
		return images.Image{}, err
	}
	match, err := matcher(opts)
	if err != nil {
		return images.Image{}, err
	}
	resolver, err := Resolver(ctx, opts)
	if err != nil {
		return images.Image{}, err
	}
	ctx, release, err := content.NewLease(ctx, c)
	if err != nil {
		return images.Image{}, err
	}
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, release(ctx, leases.SynchronousDelete))
			return
		}
		retErr = release(ctx)
	}()
	p := pull{store: c.ContentStore(), name: name, match: match, opts: opts}
	target, err := p.fetch(ctx, resolver)
	if err != nil {
		return images.Image{}, explain("pull", name, err)
	}
	if err := p.check(ctx, c, target); err != nil {
		return images.Image{}, fmt.Errorf("pull %s: %w", name, err)
	}
	return content.Record(ctx, c, name, target, nil)
}

func matcher(opts Options) (platforms.MatchComparer, error) {
	switch {
	case opts.AllPlatforms && opts.Platform != "":
		return nil, fmt.Errorf("pull: one platform and all platforms were asked for: %w", errdefs.ErrInvalidArgument)
	case opts.AllPlatforms:
		return platforms.All, nil
	case opts.Platform == "":
		return platforms.Only(platforms.DefaultSpec()), nil
	}
	p, err := platforms.Parse(opts.Platform)
	if err != nil {
		return nil, fmt.Errorf("parse platform %q: %w", opts.Platform, err)
	}
	return platforms.Only(p), nil
}

type pull struct {
	store cstore.Store
	name  string
	match platforms.MatchComparer
	opts  Options
}

// fetch resolves the name and fetches all that is wanted of it.
func (p *pull) fetch(ctx context.Context, resolver remotes.Resolver) (ocispec.Descriptor, error) {
	var target ocispec.Descriptor
	err := retry(ctx, p.opts.Backoff, func() (err error) {
		_, target, err = resolver.Resolve(ctx, p.name)
		return err
	})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	from, err := resolver.Fetcher(ctx, p.name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	handler, err := p.handler(from)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return target, images.Dispatch(ctx, handler, nil, target)
}

// handler fetches one blob, labels it, and returns those below it that are wanted.
func (p *pull) handler(from remotes.Fetcher) (images.Handler, error) {
	below := images.SetChildrenLabels(p.store, images.ChildrenHandler(p.store))
	below = images.FilterPlatforms(below, p.match)
	if !p.opts.AllPlatforms {
		below = images.LimitManifests(below, p.match, 1)
	}
	// Where a blob is from lets a push to the same registry mount it.
	source, err := docker.AppendDistributionSourceLabel(p.store, p.name)
	if err != nil {
		return nil, err
	}
	one := remotes.FetchHandler(p.store, fetcher{from, p.opts.Progress})
	fetchOne := images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if err := d.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("descriptor with digest %q: %w", d.Digest, err)
		}
		err := retry(ctx, p.opts.Backoff, func() error {
			_, err := one.Handle(ctx, d)
			return p.restart(ctx, d, err)
		})
		if err == nil {
			p.opts.Progress.tell(Event{Blob: d, Finished: true})
		}
		return nil, err
	})
	return images.Handlers(fetchOne, below, source), nil
}

// restart removes a half-fetched blob that turned out to have the wrong bytes.
// It would else be continued, and refused, for ever.
func (p *pull) restart(ctx context.Context, d ocispec.Descriptor, err error) error {
	if err == nil || !errdefs.IsFailedPrecondition(err) {
		return err
	}
	if abortErr := p.store.Abort(ctx, remotes.MakeRefKey(ctx, d)); abortErr != nil && !errdefs.IsNotFound(abortErr) {
		return errors.Join(err, abortErr)
	}
	return err
}

// check reads what was fetched as a build will.
func (p *pull) check(ctx context.Context, c *client.Client, target ocispec.Descriptor) error {
	check := []ocispec.Descriptor{target}
	if p.opts.AllPlatforms && images.IsIndexType(target.MediaType) {
		var err error
		if check, err = content.Manifests(ctx, p.store, target); err != nil {
			return err
		}
	}
	for _, d := range check {
		img, err := content.ResolveTarget(ctx, p.store, d, p.opts.Platform)
		if err != nil {
			return err
		}
		if len(img.Missing) > 0 {
			return fmt.Errorf("%d layers were not fetched: %w", len(img.Missing), errdefs.ErrNotFound)
		}
		if err := content.Hold(ctx, c, img); err != nil {
			return err
		}
	}
	return nil
}
