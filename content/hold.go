package content

import (
	"cmp"
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/lease"
)

// Hold adds an image's documents and layer blobs to ctx's lease, so that they
// stay even if somebody removes the image meanwhile. It is an error if that has
// happened since the image was resolved. Without a lease it does nothing.
func Hold(ctx context.Context, h Holder, img *Image) error {
	if _, ok := leases.FromContext(ctx); !ok || img.IsScratch() {
		return nil
	}
	blobs := append([]ocispec.Descriptor{img.Manifest, img.ConfigDesc}, img.Layers...)
	if img.Record.Target.Digest != "" && img.Record.Target.Digest != img.Manifest.Digest {
		blobs = append(blobs, img.Record.Target)
	}
	name := cmp.Or(img.Name, string(img.Manifest.Digest))
	for _, b := range blobs {
		if err := lease.AddBlob(ctx, h.LeasesService(), b.Digest); err != nil {
			return fmt.Errorf("hold %s of image %s: %w", b.Digest, name, err)
		}
		// First added, then looked for: see lease.AddBlob.
		_, err := h.ContentStore().Info(ctx, b.Digest)
		if errdefs.IsNotFound(err) && !img.lacks(b.Digest) {
			return fmt.Errorf("image %s was removed while it was looked up (pull or load it again): %w", name, err)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("hold %s of image %s: %w", b.Digest, name, err)
		}
	}
	return nil
}
