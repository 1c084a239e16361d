package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/words"
)

// Pull fetches an image into the engine's store and records it under its normalised
// name. It does not unpack it, see [Options].Ready. Content that the engine has is
// not fetched again. A layer that was fetched in part, by a pull that broke off or
// was killed, is continued. Temporary failures are retried, see [Options].Backoff.
// The name is recorded last, when everything is stored and checked. After an error
// nothing new stays.
//
// It uses the parts of containerd's client and not its Pull, which needs a daemon
// and replaces the labels of an existing record.
func Pull(ctx context.Context, e Engine, ref string, opts Options) (_ images.Image, retErr error) {
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
	ctx, release, err := lease.New(ctx, e.LeasesService())
	if err != nil {
		return images.Image{}, err
	}
	p := &pull{store: e.ContentStore(), name: name, match: match, opts: opts}
	defer func() {
		p.beside.Stop()
		if retErr != nil || p.spare.Load() {
			retErr = errors.Join(retErr, release(ctx, leases.SynchronousDelete))
			return
		}
		retErr = release(ctx)
	}()
	target, err := p.fetch(ctx, resolver)
	if err != nil {
		return images.Image{}, explain("pull", name, err)
	}
	// Everything is checked before anything is used. Images are read again
	// afterwards, since a thousand platforms may share a config of megabytes.
	if err := p.check(ctx, e, target, nil); err != nil {
		return images.Image{}, fmt.Errorf("pull %s: %w", name, err)
	}
	if opts.Ready != nil {
		if err := p.check(ctx, e, target, opts.Ready); err != nil {
			return images.Image{}, fmt.Errorf("pull %s: %w", name, err)
		}
	}
	return content.Record(ctx, e, name, target)
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
	// spare: [Options].Layers fetched what nobody needs any more.
	spare    atomic.Bool
	arriving arriving.Blobs
	beside   *arriving.Beside // of [Remote.Meanwhile]
}

// maxDownloads is the number of blobs that are fetched at the same time, as in
// containerd.
const maxDownloads = 3

// fetch resolves the name and fetches everything that is wanted.
func (p *pull) fetch(ctx context.Context, resolver remotes.Resolver) (ocispec.Descriptor, error) {
	if p.opts.Layers == nil || p.opts.AllPlatforms {
		return p.find(ctx, resolver, p.handler)
	}
	r := &Remote{Name: p.name, pull: p}
	var err error
	r.Target, err = p.find(ctx, resolver, func(from remotes.Fetcher) (images.Handler, error) {
		r.from = from
		return p.documents(from)
	})
	if err != nil {
		return r.Target, err
	}
	// What is wrong with the image is said when all of it is here, as without the call.
	if img, err := r.Image(ctx); err == nil && len(img.Missing) > 0 {
		if err := p.opts.Layers(ctx, r, img); err != nil {
			return r.Target, err
		}
	}
	h, err := p.handler(r.from)
	if err != nil {
		return r.Target, err
	}
	if err := images.Dispatch(ctx, h, semaphore.NewWeighted(maxDownloads), r.Target); err != nil {
		return r.Target, err
	}
	p.arriving.Ended()
	return r.Target, nil
}

// handler returns a handler that fetches one blob, labels it, and returns the
// wanted blobs below it.
func (p *pull) handler(from remotes.Fetcher) (images.Handler, error) {
	below := images.SetChildrenLabels(p.store, content.ChildrenHandler(p.store))
	below = images.FilterPlatforms(below, p.match)
	if !p.opts.AllPlatforms {
		below = p.chooseOne(below, from)
	}
	// The label says where a blob comes from, so that a push to the same registry
	// can mount it.
	source, err := docker.AppendDistributionSourceLabel(p.store, p.name)
	if err != nil {
		return nil, err
	}
	one := images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		end := Event{Blob: d, Finished: true}
		got, err := p.fetchBlob(ctx, from, d)
		if err != nil {
			return nil, err
		}
		if got > 0 {
			end.Done = d.Size
		}
		children, err := images.Handlers(images.HandlerFunc(p.checkDocument), below).Handle(ctx, d)
		if err != nil {
			return nil, err
		}
		p.planned(ctx, children)
		p.opts.Progress.tell(end)
		return children, nil
	})
	return images.Handlers(one, source), nil
}

// planned tells which blobs there are, and what is stored of them.
func (p *pull) planned(ctx context.Context, blobs []ocispec.Descriptor) {
	if p.opts.Progress == nil {
		return
	}
	for _, d := range blobs {
		e := Event{Blob: d, Planned: true}
		if _, err := p.store.Info(ctx, d.Digest); err == nil {
			e.Done = d.Size
		} else if status, err := p.store.Status(ctx, remotes.MakeRefKey(ctx, d)); err == nil {
			e.Done = status.Offset
		}
		p.opts.Progress.tell(e)
	}
}

// checkDocument reads a manifest or an index before what it names is fetched.
func (p *pull) checkDocument(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if images.IsIndexType(d.MediaType) {
		_, err := content.Manifests(ctx, p.store, d)
		return nil, err
	}
	return nil, nil
}

// fetchBlob fetches a blob that the store lacks. It continues an earlier attempt,
// also that of another process. received are the bytes that came, in all attempts.
func (p *pull) fetchBlob(ctx context.Context, from remotes.Fetcher, d ocispec.Descriptor) (received int64, _ error) {
	switch {
	case d.Digest.Validate() != nil:
		return 0, fmt.Errorf("descriptor with digest %q: %w", d.Digest, errdefs.ErrInvalidArgument)
	case isDocument(d.MediaType) && d.Size > maxDocument:
		return 0, fmt.Errorf("%s (%s): %d bytes are more than the %d that a manifest or config may have: %w",
			d.Digest, d.MediaType, d.Size, maxDocument, errdefs.ErrInvalidArgument)
	}
	urls := d.URLs
	d.URLs = nil // Containerd would try these addresses before the registry.
	var got atomic.Int64
	one := fetcher{Fetcher: from, progress: p.opts.Progress, got: &got, came: p.arriving.Came}
	r := p.opts.retrier()
	r.progress, r.step = got.Load, stallBytes
	err := r.do(ctx, func(ctx context.Context) error {
		return overHosts(ctx, func(ctx context.Context) error { return p.fetchOnce(ctx, one, d) })
	})
	if errdefs.IsNotFound(err) && images.IsNonDistributable(d.MediaType) && len(urls) > 0 {
		err = p.elsewhere(ctx, one, d, urls, err)
	}
	if err == nil {
		p.arriving.Stored(d.Digest)
	}
	return got.Load(), ofBlob(d, err)
}

// ofBlob is an error that says which blob it is about.
func ofBlob(d ocispec.Descriptor, err error) error {
	if err == nil || strings.Contains(err.Error(), d.Digest.String()) {
		return err
	}
	what := "blob"
	switch {
	case images.IsIndexType(d.MediaType):
		what = "index"
	case images.IsManifestType(d.MediaType):
		what = "manifest"
	case images.IsKnownConfig(d.MediaType):
		what = "config"
	case images.IsLayerType(d.MediaType):
		what = "layer"
	}
	return fmt.Errorf("%s %s: %w", what, d.Digest, err)
}

// isDocument reports whether blobs of the type are read into memory.
func isDocument(mediaType string) bool {
	return images.IsIndexType(mediaType) || images.IsManifestType(mediaType) || images.IsKnownConfig(mediaType)
}

// fetchOnce fetches a blob from one place. It goes on with what is stored of it, and
// from the beginning where that is of no use.
func (p *pull) fetchOnce(ctx context.Context, from fetcher, d ocispec.Descriptor) error {
	resumed := p.begun(ctx, d)
	err := p.restart(ctx, d, p.storeBlob(ctx, from, d))
	if _, inParts := attemptOf(ctx).sent(); (resumed || inParts) && unfit(err) {
		// The stored part was not the blob's beginning, or the registry cannot send a
		// part of the blob, or sends another one.
		err = p.restart(ctx, d, p.storeBlob(ctx, from, d))
	}
	return err
}

// storeBlob fetches what is not stored of a blob.
func (p *pull) storeBlob(ctx context.Context, from fetcher, d ocispec.Descriptor) error {
	err := remotes.Fetch(ctx, p.store, from, d)
	switch {
	case errdefs.IsAlreadyExists(err):
		return nil
	case errors.Is(err, ErrOtherContent), errdefs.IsFailedPrecondition(err):
		if by, _ := attemptOf(ctx).sent(); by != "" {
			err = fmt.Errorf("%s sent it: %w", by, err)
		}
		return fault.Mark(ErrOtherContent, err)
	}
	return err
}

// begun reports whether a part of the blob is stored.
func (p *pull) begun(ctx context.Context, d ocispec.Descriptor) bool {
	status, err := p.store.Status(ctx, remotes.MakeRefKey(ctx, d))
	return err == nil && status.Offset > 0
}

// restart removes a partly fetched blob that turned out to have wrong bytes.
// Otherwise it would be continued and refused for ever.
func (p *pull) restart(ctx context.Context, d ocispec.Descriptor, err error) error {
	if !unfit(err) {
		return err
	}
	if abortErr := p.abort(ctx, d); abortErr != nil {
		return errors.Join(err, abortErr)
	}
	return err
}

// abort removes the stored part of an incomplete blob.
func (p *pull) abort(ctx context.Context, d ocispec.Descriptor) error {
	if err := p.store.Abort(ctx, remotes.MakeRefKey(ctx, d)); !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// unfit reports whether the fetched part of a blob is of no use.
func unfit(err error) bool {
	return errdefs.IsFailedPrecondition(err) || statusOf(err) == http.StatusRequestedRangeNotSatisfiable
}

// check reads the fetched images as a build does, and calls ready with each.
func (p *pull) check(ctx context.Context, h content.Holder, target ocispec.Descriptor, ready func(context.Context, *content.Image) error) error {
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
			return fmt.Errorf("%s could not be fetched: %w", words.Count(len(img.Missing), "layer", "layers"), errdefs.ErrNotFound)
		}
		if err := content.Hold(ctx, h, img); err != nil {
			return err
		}
		if ready == nil {
			continue
		}
		if err := ready(ctx, img); err != nil {
			return err
		}
	}
	return nil
}
