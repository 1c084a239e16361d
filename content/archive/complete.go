package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// complete makes sure that an image is in the store as a whole, and labels
// its documents so that the garbage collector keeps what is below them. Of an
// index, platforms that are not whole are passed over, except the wanted one.
func complete(ctx context.Context, c *client.Client, target ocispec.Descriptor, platform string) error {
	store := c.ContentStore()
	whole := map[digest.Digest]bool{}
	if images.IsIndexType(target.MediaType) {
		manifests, err := content.Manifests(ctx, store, target)
		if err != nil {
			return err
		}
		var errs []error
		for _, m := range manifests {
			if err := hold(ctx, c, m, ""); err != nil {
				errs = append(errs, err)
				continue
			}
			whole[m.Digest] = true
		}
		if len(whole) == 0 {
			return errors.Join(append([]error{fmt.Errorf("no platform of it is whole: %w", errdefs.ErrNotFound)}, errs...)...)
		}
	}
	if platform != "" || !images.IsIndexType(target.MediaType) {
		if err := hold(ctx, c, target, platform); err != nil {
			return err
		}
	}
	children := images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		below, err := images.Children(ctx, store, d)
		if err != nil || !images.IsIndexType(d.MediaType) {
			return below, err
		}
		return slices.DeleteFunc(below, func(m ocispec.Descriptor) bool {
			if images.IsManifestType(m.MediaType) && !content.IsAttestation(m) {
				return !whole[m.Digest]
			}
			_, err := store.Info(ctx, m.Digest) // an attestation or an index of another platform
			return err != nil
		}), nil
	})
	if err := images.Walk(ctx, images.SetChildrenLabels(store, skipAbsent(children)), target); err != nil {
		return fmt.Errorf("label blobs: %w", err)
	}
	return nil
}

// skipAbsent takes what is not stored below an attestation for absent; images
// were found whole before.
func skipAbsent(h images.HandlerFunc) images.HandlerFunc {
	return func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		below, err := h(ctx, d)
		if errdefs.IsNotFound(err) {
			return nil, images.ErrSkipDesc
		}
		return below, err
	}
}

// hold checks one platform's image, all layers included, and takes it under
// the lease: parts of it may have been in the store before, without a name.
func hold(ctx context.Context, c *client.Client, target ocispec.Descriptor, platform string) error {
	img, err := content.ResolveTarget(ctx, c.ContentStore(), target, platform)
	if err != nil {
		return err
	}
	if len(img.Missing) > 0 {
		var lacks []string
		for _, m := range img.Missing {
			lacks = append(lacks, m.Digest.String())
		}
		return fmt.Errorf("neither the archive nor this engine has %d of its %d layers (%s); get the image that they come from first: %w",
			len(lacks), len(img.Layers), strings.Join(lacks, ", "), errdefs.ErrNotFound)
	}
	if err := checkPlainLayers(img); err != nil {
		return err
	}
	return content.Hold(ctx, c, img)
}

// checkPlainLayers compares the diff IDs of layers that are not compressed
// with their digests, which must be the same. It is the only thing that ties
// the layers of a docker-archive to its config.
func checkPlainLayers(img *content.Image) error {
	for i, l := range img.Layers {
		plain := l.MediaType == images.MediaTypeDockerSchema2Layer || l.MediaType == ocispec.MediaTypeImageLayer
		if plain && l.Digest.Algorithm() == img.DiffIDs[i].Algorithm() && l.Digest != img.DiffIDs[i] {
			return fmt.Errorf("layer %d is %s, but the config wants %s there: %w", i, l.Digest, img.DiffIDs[i], content.ErrCorrupt)
		}
	}
	return nil
}
