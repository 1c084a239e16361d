package veneer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
)

// PulledDelta tells of a delta by which layers were made.
type PulledDelta struct {
	// Since is the image from which it was made: its name where it was made, or the
	// digest of its manifest or config.
	Since string `json:"since"`
	// Bytes is how much was fetched, and Saved how much more the layers have that were
	// made.
	Bytes int64 `json:"bytes"`
	Saved int64 `json:"saved_bytes"`
}

// deltaPull makes the layers of an image that is pulled of a delta.
type deltaPull struct {
	engine   *engine.Engine
	noUnpack bool
	log      *slog.Logger
	done     *PulledDelta
	warnings []Notice
}

// maxDeltaFetches is the number of blobs of a delta that are fetched at the same time,
// as of images.
const maxDeltaFetches = 3

// minDelta is the least size of layers for which a registry is asked for deltas. To ask,
// and to read what it says, costs as much as to fetch so many bytes.
const minDelta = 64 << 10

// maxDeltaTries is how many deltas are tried, the cheapest first. What is wrong with two
// of them, such as a disk, may well be wrong with all, and each costs its bytes.
const maxDeltaTries = 2

// layers is [registry.Options].Layers. What goes wrong with a delta is no error, but a
// warning: then the next one is tried, and in the end the layers are fetched.
func (p *deltaPull) layers(ctx context.Context, r *registry.Remote, img *content.Image) error {
	err := p.try(ctx, r, img)
	switch {
	case ctx.Err() != nil:
		return fault.Ended(ctx)
	case err == nil:
		return nil
	case p.done != nil:
		err = fmt.Errorf("take the delta of %s since %s, since there is something wrong with another one: %w", r.Name, p.done.Since, err)
	default:
		err = fmt.Errorf("fetch the layers of %s, since there is something wrong with a delta: %w", r.Name, err)
	}
	p.warnings = append(p.warnings, fault.NoticeOf(err))
	return nil
}

func (p *deltaPull) try(ctx context.Context, r *registry.Remote, img *content.Image) error {
	store := p.engine.Client.ContentStore()
	stored := func(d digest.Digest) bool {
		_, err := store.Info(ctx, d)
		return err == nil
	}
	have, err := p.images(ctx)
	if err != nil {
		return err
	}
	_, layers := delta.Choose(nil, img, have.source, stored)
	if layers < minDelta || len(have) == 0 {
		return nil
	}
	offers, unread := p.offers(ctx, r, img.Manifest.Digest, have)
	var failed error
	for range maxDeltaTries {
		best, bytes := delta.Choose(offers, img, have.source, stored)
		if best == nil {
			return errors.Join(failed, unread)
		}
		since := sinceText(best.Sources[0])
		err := p.make(ctx, r, best, stored)
		if err == nil {
			p.done = &PulledDelta{Since: since, Bytes: bytes, Saved: layers - bytes}
			return failed
		}
		if ctx.Err() != nil {
			return err
		}
		failed = errors.Join(failed, fmt.Errorf("the delta since %s: %w", since, err))
		tried := best.Manifest.Digest
		offers = slices.DeleteFunc(offers, func(o delta.Offer) bool { return o.Manifest.Digest == tried })
	}
	return failed
}

// offers reads the deltas that a registry has of an image. The error is about some that
// cannot be read.
func (p *deltaPull) offers(ctx context.Context, r *registry.Remote, image digest.Digest, have haveImages) (offers []delta.Offer, err error) {
	// Few registries have deltas, and some have no such lists.
	list, _ := r.Referrers(ctx, image, delta.ArtifactType)
	for _, d := range delta.Offers(list, image, have.source) {
		// A descriptor with the annotations is no more than they are.
		m := ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
		read, rerr := p.read(ctx, r, m)
		if rerr != nil {
			err = errors.Join(err, rerr)
			continue
		}
		offers = append(offers, delta.Offer{Manifest: m, Delta: read})
	}
	return offers, err
}

func (p *deltaPull) read(ctx context.Context, r *registry.Remote, manifest ocispec.Descriptor) (*delta.Delta, error) {
	if err := r.Fetch(ctx, manifest); err != nil {
		return nil, err
	}
	return delta.Read(ctx, p.engine.Client.ContentStore(), manifest)
}

// make fetches the blobs of a delta and makes the layers.
func (p *deltaPull) make(ctx context.Context, r *registry.Remote, best *delta.Offer, stored func(digest.Digest) bool) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxDeltaFetches)
	fetch := func(b ocispec.Descriptor) {
		if b.Digest != "" && !stored(b.Digest) {
			group.Go(func() error { return r.Fetch(groupCtx, b) })
		}
	}
	seen := map[digest.Digest]bool{}
	for _, l := range best.Layers {
		if l.Kind != delta.Reused && !seen[l.Blob.Digest] && !stored(l.Target.Digest) {
			seen[l.Blob.Digest] = true
			fetch(l.Blob)
		}
	}
	fetch(best.Files)
	if err := group.Wait(); err != nil {
		return err
	}
	s := &loadSnapshots{engine: p.engine, noUnpack: p.noUnpack, steps: progress.New(nil), log: p.log}
	return archive.Rebuild(ctx, p.engine.Client, best.Manifest, archive.Options{Sources: s, Snapshots: s})
}

func sinceText(s delta.Source) string {
	switch {
	case s.Name != "":
		return s.Name
	case s.Manifest != "":
		return s.Manifest.String()
	}
	return s.Config.String()
}

// haveImages are the images of an engine, by the digests that a delta names its sources
// by.
type haveImages map[digest.Digest]bool

func (p *deltaPull) images(ctx context.Context) (haveImages, error) {
	all, err := p.engine.Client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	have, seen := haveImages{}, map[digest.Digest]bool{}
	for _, record := range all {
		if seen[record.Target.Digest] {
			continue
		}
		seen[record.Target.Digest] = true
		for _, img := range content.ReadableImages(ctx, p.engine.Client.ContentStore(), record.Target) {
			have[img.Manifest.Digest], have[img.ConfigDesc.Digest], have[img.ChainID] = true, true, true
		}
	}
	return have, ctx.Err()
}

func (h haveImages) source(s delta.Source) bool {
	return h[s.Manifest] || h[s.Config] || h[s.Chain]
}
