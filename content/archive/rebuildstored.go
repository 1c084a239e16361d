package archive

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Rebuild makes the layers of a delta's image, as far as they are not here. The delta's
// manifest and blobs must be stored, and so must manifest and config of the image. What
// it stores is under ctx's lease, which there must be. Of the options Sources and
// Snapshots count. No image is recorded.
func Rebuild(ctx context.Context, e Engine, manifest ocispec.Descriptor, opts Options) error {
	l := &loader{engine: e, store: e.ContentStore(), opts: Options{Sources: opts.Sources, Snapshots: opts.Snapshots}}
	_, err := l.rebuild(ctx, manifest)
	return err
}
