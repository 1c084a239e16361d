package archive

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/content/delta"
)

// unpacking is what unpacks an image while its layers are made. The zero value does not.
type unpacking struct {
	tars   *arriving.Tars
	beside *arriving.Beside
}

// beginUnpacking begins to unpack the image, once. It is the image's layers as they are
// that are unpacked: where it is clear that one of them cannot be made so, nothing begins.
func (r *rebuilder) beginUnpacking(ctx context.Context) {
	if r.unpacking.tars != nil || r.opts.Image != "" {
		return
	}
	var blobs []digest.Digest
	seen := map[digest.Digest]bool{}
	for _, layer := range r.delta.Layers {
		if _, err := r.store.Info(ctx, layer.Target.Digest); err == nil || layer.Kind == delta.Reused {
			continue
		}
		if seen[layer.Target.Digest] || !layer.Generation.Known() && (r.storing || !r.discards()) {
			return // A tar has one reader.
		}
		seen[layer.Target.Digest] = true
		blobs = append(blobs, layer.Target.Digest)
	}
	tars := arriving.NewTars(blobs)
	r.unpacking = unpacking{tars, r.opts.Sources.Meanwhile(ctx, r.delta.Image, tars)}
}

// writer takes the tar of a layer.
func (u *unpacking) writer(ctx context.Context, layer digest.Digest) io.Writer {
	if u.tars == nil {
		return nil
	}
	return u.tars.Writer(ctx, layer)
}

// skip tells that a layer is here already.
func (u *unpacking) skip(layer digest.Digest) {
	if u.tars != nil {
		u.tars.Skip(layer)
	}
}

// errOtherBlob is why a snapshot is not made meanwhile: it is of an image with that blob.
var errOtherBlob = errors.New("the layer has another blob")

// made tells how the making of a layer has ended.
func (u *unpacking) made(layer, as ocispec.Descriptor, err error) {
	if u.tars == nil {
		return
	}
	if err == nil && as.Digest != layer.Digest {
		err = errOtherBlob
	}
	u.tars.End(layer.Digest, err)
}

// wait waits until all is unpacked. No more layers are made.
func (u *unpacking) wait(ctx context.Context) {
	if u.tars != nil {
		u.tars.Ended()
		u.beside.Wait(ctx)
	}
}

// stop ends it.
func (u *unpacking) stop() {
	if u.tars != nil {
		u.tars.Ended()
		u.beside.Stop()
	}
}
