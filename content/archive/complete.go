package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// loader is one import.
type loader struct {
	engine Engine
	store  cstore.Store
	opts   Options
	// begun: the archive's index was seen. delta is nil for a complete archive.
	begun bool
	delta *deltaNote
	// plain: a layer may be unpacked here whose blob cannot be made, see
	// [rebuilder.unpackPlain]. spare: that was done, and nobody needs its tar any more.
	plain, spare bool
	meanwhile    meanwhile
}

// complete checks that an image is complete, labels its documents so that the
// garbage collector keeps everything below them, and unpacks it. Of an index,
// incomplete platforms are skipped, except the wanted one.
func (l *loader) complete(ctx context.Context, f named) error {
	whole := map[digest.Digest]bool{}
	isIndex := images.IsIndexType(f.target.MediaType)
	if isIndex {
		manifests, err := content.Manifests(ctx, l.store, f.target)
		if err != nil {
			return err
		}
		var errs []error
		for _, m := range manifests {
			if err := l.hold(ctx, m, ""); err != nil {
				errs = append(errs, err)
				continue
			}
			whole[m.Digest] = true
		}
		if len(whole) == 0 {
			return errors.Join(append([]error{fmt.Errorf("no platform of it is whole: %w", errdefs.ErrNotFound)}, errs...)...)
		}
	}
	if l.opts.Platform != "" || !isIndex {
		if err := l.hold(ctx, f.target, l.opts.Platform); err != nil {
			return err
		}
	}
	children := images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		below, err := content.Children(ctx, l.store, d)
		if err != nil || !images.IsIndexType(d.MediaType) {
			return below, err
		}
		return slices.DeleteFunc(below, func(m ocispec.Descriptor) bool {
			if content.IsImage(ctx, l.store, m) {
				return !whole[m.Digest]
			}
			_, err := l.store.Info(ctx, m.Digest) // an attestation, an artifact or an index of another platform
			return err != nil
		}), nil
	})
	if err := images.Walk(ctx, images.SetChildrenLabels(l.store, skipAbsent(children)), f.target); err != nil {
		return fmt.Errorf("label blobs: %w", err)
	}
	return l.unpack(ctx, f)
}

// skipAbsent ignores what is not stored below an attestation. Images were found
// complete before.
func skipAbsent(h images.HandlerFunc) images.HandlerFunc {
	return func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		below, err := h(ctx, d)
		if errdefs.IsNotFound(err) {
			return nil, images.ErrSkipDesc
		}
		return below, err
	}
}

// hold checks that one platform's image is complete, with its layers, and adds it
// to the lease. Parts of it may have been in the store before, without a name.
func (l *loader) hold(ctx context.Context, target ocispec.Descriptor, platform string) error {
	img, err := content.ResolveTarget(ctx, l.store, target, platform)
	if err != nil {
		return err
	}
	if err := content.Hold(ctx, l.engine, img); err != nil {
		return err
	}
	// Resolve again: content that was there before it was in the lease may be gone.
	if img, err = content.ResolveTarget(ctx, l.store, target, platform); err != nil {
		return err
	}
	if err := checkPlainLayers(img); err != nil {
		return err
	}
	if len(img.Missing) == 0 {
		return nil
	}
	layers := make([]neededLayer, len(img.Layers))
	for i, d := range img.Layers {
		layers[i] = neededLayer{d.Digest, d.Size, identity.ChainID(img.DiffIDs[:i+1])}
	}
	lacks, chain, err := l.lacking(ctx, layers)
	if err != nil {
		return err
	}
	if len(lacks) > 0 {
		return l.lackError(ctx, img, lacks)
	}
	return l.opts.Snapshots.Keep(ctx, img, chain)
}

// unpack makes the snapshot of the platform that a container would run.
func (l *loader) unpack(ctx context.Context, f named) error {
	if l.opts.Snapshots == nil {
		return nil
	}
	img, err := content.ResolveTarget(ctx, l.store, f.target, l.opts.Platform)
	if errdefs.IsNotFound(err) {
		return nil // it has other platforms only
	}
	if err != nil {
		return err
	}
	return l.opts.Snapshots.Unpack(ctx, f.names[0], img)
}

// checkPlainLayers checks that uncompressed layers have the digests that their diff
// IDs say. Nothing else connects the layers of a docker-archive to its config.
func checkPlainLayers(img *content.Image) error {
	for i, l := range img.Layers {
		plain := l.MediaType == images.MediaTypeDockerSchema2Layer || l.MediaType == ocispec.MediaTypeImageLayer
		if plain && l.Digest.Algorithm() == img.DiffIDs[i].Algorithm() && l.Digest != img.DiffIDs[i] {
			return fmt.Errorf("layer %d is %s, but the config wants %s there: %w", i, l.Digest, img.DiffIDs[i], content.ErrCorrupt)
		}
	}
	return nil
}
