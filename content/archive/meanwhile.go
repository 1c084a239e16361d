package archive

import (
	"context"
	"io"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/content/delta"
)

// maxLooks is how many blobs may come before the documents of an archive's image are all
// there. In most archives they are the first.
const maxLooks = 16

// meanwhile is what is done while an archive is read, see [Options].Meanwhile.
type meanwhile struct {
	blobs  arriving.Blobs
	image  *ocispec.Descriptor // the archive's only one; nil: there are more, or it is not known
	looks  int
	beside *arriving.Beside
}

// only notes the archive's image if there is only one.
func (l *loader) only(index storedIndex) {
	if m := index.idx.Manifests; len(m) == 1 && l.opts.Image == "" && m[0].ArtifactType != delta.ArtifactType {
		d := bare(m[0])
		l.meanwhile.image = &d
		return
	}
	l.meanwhile.blobs.Unread()
}

// look begins what is to be done meanwhile if the image's documents are there. What is
// wrong with the image is said when all of it is read.
func (l *loader) look(ctx context.Context, blob ocispec.Descriptor) {
	m := &l.meanwhile
	if l.opts.Meanwhile == nil || m.image == nil || m.looks == maxLooks || blob.Size > maxDocument {
		return
	}
	m.looks++
	img, err := content.ResolveTarget(ctx, l.store, *m.image, l.opts.Platform)
	if err != nil {
		return
	}
	m.looks = maxLooks
	if len(img.Missing) == 0 {
		return
	}
	for _, layer := range img.Layers {
		if !slices.ContainsFunc(img.Missing, func(d ocispec.Descriptor) bool { return d.Digest == layer.Digest }) {
			m.blobs.Stored(layer.Digest)
		}
	}
	m.beside = l.opts.Meanwhile(ctx, img, func(ctx context.Context, blob ocispec.Descriptor) io.ReadCloser {
		return m.blobs.Open(ctx, l.store, blob)
	})
}
