package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/internal/fault"
)

// nameOf is an image's name here, or its digest.
func nameOf(img *content.Image) string {
	if img.Name != "" {
		return img.Name
	}
	return img.Manifest.Digest.String()
}

// names are those of the source images that are open, for messages.
func (r *rebuilder) names() string {
	var list []string
	for _, o := range r.olds {
		list = append(list, nameOf(o))
	}
	return strings.Join(list, " and ")
}

// find finds a source image among those of the store: by its manifest, its config, or
// as one that has the same layers. It adds it to ctx's lease.
func (r *rebuilder) find(ctx context.Context, s delta.Source) (*content.Image, error) {
	img, err := r.stored(ctx, s)
	if err != nil {
		return nil, err
	}
	if img == nil {
		if img, err = r.named(ctx, s); err != nil {
			return nil, err
		}
	}
	if img == nil {
		return nil, r.needs(ctx, errors.New("it is not here"), s)
	}
	if img.Name == "" {
		img.Name = cutDigest(s.Name)
	}
	return img, content.Hold(ctx, r.engine, img)
}

// cutDigest is a name without the digest in it.
func cutDigest(name string) string {
	name, _, _ = strings.Cut(name, "@")
	return name
}

// stored returns the source whose manifest is stored; nil: none is.
func (r *rebuilder) stored(ctx context.Context, s delta.Source) (*content.Image, error) {
	if s.Manifest == "" {
		return nil, nil
	}
	if err := r.keep(ctx, s.Manifest); err != nil {
		return nil, err
	}
	info, err := r.store.Info(ctx, s.Manifest)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the image %s: %w", s.Manifest, err)
	}
	for _, mediaType := range []string{ocispec.MediaTypeImageManifest, images.MediaTypeDockerSchema2Manifest} {
		img, err := content.ResolveTarget(ctx, r.store, ocispec.Descriptor{MediaType: mediaType, Digest: s.Manifest, Size: info.Size}, "")
		if err == nil && img.ConfigDesc.Digest == s.Config {
			return img, nil
		}
	}
	return nil, ctx.Err() // It may be damaged, or lack its config, and another name have a whole one.
}

// named returns an image with a name that has the source's config or layers; nil: none
// has.
func (r *rebuilder) named(ctx context.Context, s delta.Source) (*content.Image, error) {
	all, err := r.engine.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	slices.SortFunc(all, func(a, b images.Image) int { return strings.Compare(a.Name, b.Name) })
	seen := map[digest.Digest]bool{}
	for _, record := range all {
		if seen[record.Target.Digest] {
			continue
		}
		seen[record.Target.Digest] = true
		for _, img := range content.ReadableImages(ctx, r.store, record.Target) {
			if img.ConfigDesc.Digest == s.Config || s.Chain != "" && img.ChainID == s.Chain {
				img.Name, img.Record = record.Name, record
				return img, nil
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// needs returns an error that says which images the archive is a delta to: those, or
// all.
func (r *rebuilder) needs(ctx context.Context, why error, which ...delta.Source) error {
	if len(which) == 0 {
		which = r.delta.Sources
	}
	var bases, named []string
	for _, s := range which {
		ref := s.Manifest.String()
		if ref == "" {
			ref = "the image with the config " + s.Config.String()
		}
		if name := cutDigest(s.Name); name != "" {
			ref = name + "@" + ref
			named = append(named, ref)
		}
		bases = append(bases, ref+r.otherBase(ctx, baseRef{s.Name, s.Manifest}))
	}
	err := fmt.Errorf("the archive is a delta to %s, and %w; get that image first: %w", strings.Join(bases, " and "), why, errdefs.ErrNotFound)
	for _, ref := range slices.Backward(named) {
		err = &fault.Error{Kind: ErrNeedsBase, Ref: ref, Err: err}
	}
	return err
}
