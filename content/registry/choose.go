package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// chooseOne makes a handler return only one child of an index: the one that fits
// the wanted platform best, or the first of those that fit equally. An index may
// list an artifact for the same platform, which only its manifest shows. So
// manifests are fetched until one is an image's.
func (p *pull) chooseOne(below images.HandlerFunc, from remotes.Fetcher) images.HandlerFunc {
	return func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := below(ctx, d)
		if err != nil || !images.IsIndexType(d.MediaType) {
			return children, err
		}
		slices.SortStableFunc(children, p.order)
		for _, c := range children {
			if images.IsIndexType(c.MediaType) {
				return []ocispec.Descriptor{c}, nil
			}
			if !images.IsManifestType(c.MediaType) || content.IsAttestation(c) {
				continue
			}
			if _, err := p.fetchBlob(ctx, from, c); err != nil {
				return nil, err
			}
			if content.IsImage(ctx, p.store, c) {
				return []ocispec.Descriptor{c}, nil
			}
		}
		return nil, fmt.Errorf("no image for the platform in index %s: %w", d.Digest, errdefs.ErrNotFound)
	}
}

// order compares two entries: the platform that fits better comes first, and
// entries without a platform come last.
func (p *pull) order(a, b ocispec.Descriptor) int {
	switch {
	case a.Platform == nil && b.Platform == nil:
		return 0
	case a.Platform == nil:
		return 1
	case b.Platform == nil, p.match.Less(*a.Platform, *b.Platform):
		return -1
	case p.match.Less(*b.Platform, *a.Platform):
		return 1
	}
	return 0
}
