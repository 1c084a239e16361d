package content

import (
	"context"
	"errors"
	"fmt"

	cstore "github.com/containerd/containerd/v2/core/content"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/lease"
)

// Copy copies what h's store lacks of an image that was resolved in another store.
// ctx must have a lease, which holds the copy: nothing else does.
func Copy(ctx context.Context, h Holder, from cstore.Provider, img *Image) error {
	for _, b := range append(append([]ocispec.Descriptor{}, img.Layers...), img.ConfigDesc, img.Manifest) {
		// First added, then looked for: see lease.AddBlob.
		if err := lease.AddBlob(ctx, h.LeasesService(), b.Digest); err != nil {
			return fmt.Errorf("hold %s of %s: %w", b.Digest, img.Name, err)
		}
		if err := copyBlob(ctx, h.ContentStore(), from, b); err != nil {
			return fmt.Errorf("copy %s of %s: %w", b.Digest, img.Name, err)
		}
	}
	return nil
}

// copyBlob checks what it copies against the digest.
func copyBlob(ctx context.Context, to cstore.Store, from cstore.Provider, desc ocispec.Descriptor) (err error) {
	if _, err := to.Info(ctx, desc.Digest); err == nil {
		return nil
	}
	r, err := from.ReaderAt(ctx, desc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	ref := lease.NewRef("copy")
	if err := cstore.WriteBlob(ctx, to, ref, cstore.NewReader(r), desc); err != nil {
		return errors.Join(err, lease.Abort(ctx, to, ref))
	}
	return nil
}
