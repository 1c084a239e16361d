package content

import (
	"context"
	"fmt"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/rawjson"
)

// Children is [images.Children] for documents that nobody has read yet.
// Containerd reads a manifest or an index whole, whatever its size, and decodes
// what it finds. Here the document is read within this package's bounds first,
// and checked against its digest. Of other types there are no children.
func Children(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if err := Bounded(ctx, store, desc); err != nil {
		return nil, err
	}
	return images.Children(ctx, store, desc)
}

// Bounded returns an error where a manifest or an index is larger than one may
// be, or made to be costly, so that a library may read it after that. There is
// nothing to be said of other types.
func Bounded(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !images.IsManifestType(desc.MediaType) && !images.IsIndexType(desc.MediaType) {
		return nil
	}
	data, err := readJSON(ctx, store, desc)
	if err != nil {
		return err
	}
	if err := rawjson.Check(data); err != nil {
		return fmt.Errorf("%s: %w", desc.Digest, err)
	}
	return nil
}

// ChildrenHandler is [images.ChildrenHandler] with [Children].
func ChildrenHandler(store cstore.Provider) images.HandlerFunc {
	return func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return Children(ctx, store, desc)
	}
}
