package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/tardiff"
)

// maxDeltas is the number of deltas below the file that an archive may have. Veneer
// and oci-delta write one. Each may take as long as its image is large.
const maxDeltas = 16

// Sources are for archives of deltas below the file ([delta]): the images that such an
// archive takes files from.
type Sources interface {
	// Files opens the files of images. It adds what they need to ctx's lease. The caller
	// closes them.
	Files(ctx context.Context, imgs []*content.Image) (Files, error)
	// Rebuilds is called before a layer is made of a delta, with the number of bytes
	// of its tar, or 0 if that is unknown. count is called as they come.
	Rebuilds(layer ocispec.Descriptor, size int64) (count func(bytes int64))
	// Meanwhile begins to make the snapshots of an image while its layers are made, of
	// their tars. What it runs ends with tars.Closed, and is stopped at the end of the load.
	// What it does not make, [Snapshots].Unpack makes when the layers are there.
	Meanwhile(ctx context.Context, img *content.Image, tars *arriving.Tars) *arriving.Beside
	// Rebuilt is called for each image whose layers are all here.
	Rebuilt(Rebuilt)
}

// Files are the regular files of images, by their paths in these. Of several images the
// first one counts that has a file there. No link is followed.
type Files interface {
	tardiff.Opener
	delta.Finder
	io.Closer
}

// Rebuilt tells what was made of a delta.
type Rebuilt struct {
	// Image is the image of the delta, and Made the one that is here: another one if
	// a layer could not be made again as it was, see [Options].Recompress.
	Image, Made digest.Digest
	// Layers is the number of the image's layers, and Deltas that of the layers of
	// which the archive had a delta. Saved is how many bytes these are smaller.
	Layers, Deltas int
	Saved          int64
}

// expand makes the images of the deltas in the archive. It returns an index that has
// these in place of the deltas.
func (l *loader) expand(ctx context.Context, index storedIndex) (storedIndex, error) {
	made := map[digest.Digest]ocispec.Descriptor{}
	idx := *index.idx
	idx.Manifests = slices.Clone(idx.Manifests)
	for i, m := range idx.Manifests {
		switch is, err := delta.Recognize(ctx, l.store, m); {
		case errors.Is(err, delta.ErrVersion):
			return storedIndex{}, fmt.Errorf("read archive: %w: %w", err, errdefs.ErrNotImplemented)
		case ctx.Err() != nil:
			return storedIndex{}, ctx.Err()
		case err != nil && m.Annotations[delta.AnnotationName] != "":
			return storedIndex{}, fmt.Errorf("read archive: %w", err)
		case err != nil || !is:
			continue // What is wrong with an image is said where that is read.
		}
		target, known := made[m.Digest]
		if !known {
			if len(made) == maxDeltas {
				return storedIndex{}, fmt.Errorf("read archive: it has more than %d deltas: %w", maxDeltas, errdefs.ErrInvalidArgument)
			}
			var err error
			if target, err = l.rebuild(ctx, m); err != nil {
				return storedIndex{}, err
			}
			made[m.Digest] = target
		}
		target.Annotations = maps.Clone(m.Annotations)
		if name := m.Annotations[delta.AnnotationName]; name != "" {
			target.Annotations[images.AnnotationImageName] = name
		}
		idx.Manifests[i] = target
	}
	if len(made) == 0 {
		return index, nil
	}
	return encodeIndex(&idx)
}

// rebuild makes the layers of a delta's image, as far as they are not here, and
// returns the image's manifest.
func (l *loader) rebuild(ctx context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, error) {
	d, err := delta.Read(ctx, l.store, desc)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("read archive: %w", err)
	}
	if l.opts.Sources == nil {
		return ocispec.Descriptor{}, fmt.Errorf("read archive: it has a delta below the file, which can only be loaded: %w", errdefs.ErrNotImplemented)
	}
	if l.opts.Platform != "" {
		// It must be this platform's, before its layers are made.
		if _, err := content.ResolveTarget(ctx, l.store, d.Image.Manifest, l.opts.Platform); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	r := &rebuilder{loader: l, delta: d, layers: slices.Clone(d.Image.Layers)}
	if err := r.reused(ctx); err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := r.makeLayers(ctx); err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := r.unpackPlain(ctx, cmp.Or(desc.Annotations[delta.AnnotationName], d.Image.Manifest.Digest.String())); err != nil {
		return ocispec.Descriptor{}, err
	}
	return r.image(ctx)
}

// image returns the manifest of the image with the layers that were made.
func (r *rebuilder) image(ctx context.Context) (ocispec.Descriptor, error) {
	img := r.delta.Image
	told := Rebuilt{Image: img.Manifest.Digest, Made: img.Manifest.Digest, Layers: len(r.layers)}
	for _, layer := range r.delta.Layers {
		if layer.Kind == delta.Diff {
			told.Deltas++
			told.Saved += layer.Target.Size - layer.Blob.Size
		}
	}
	if r.other {
		as, err := content.Relayered(img, r.layers)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		if err := content.WriteBlob(ctx, r.store, as.Manifest, nil, as.ManifestJSON); err != nil {
			return ocispec.Descriptor{}, err
		}
		img, told.Made = as, as.Manifest.Digest
	}
	r.opts.Sources.Rebuilt(told)
	return bare(img.Manifest), nil
}
