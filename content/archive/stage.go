package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// Stage stores one image of an archive as [Import] does, but without a name. It
// stays as long as the lease in ctx, which must have one. name chooses the image:
// its full name, its tag in the archive, or its digest. It may be empty if there is
// only one image. platform is as in [Options]. The result is for
// [content.ResolveTarget].
func Stage(ctx context.Context, e Engine, r io.Reader, name, platform string) (ocispec.Descriptor, error) {
	if _, ok := leases.FromContext(ctx); !ok {
		return ocispec.Descriptor{}, errors.New("read archive: the context has no lease")
	}
	l := &loader{engine: e, store: e.ContentStore(), opts: Options{Platform: platform}}
	index, err := l.ingest(ctx, r)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if index, err = l.expand(ctx, index); err != nil {
		return ocispec.Descriptor{}, err
	}
	f, err := l.choose(ctx, index, name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return f.target, l.complete(ctx, f)
}

// choose returns the image with that name, or the only one.
func (l *loader) choose(ctx context.Context, index storedIndex, name string) (named, error) {
	found, err := listImages(ctx, l.store, index)
	if err != nil {
		return named{}, err
	}
	if name == "" && (len(found) == 1 || onePerPlatform(found)) {
		list, err := l.rename(ctx, found, index, nil)
		if err != nil {
			return named{}, err
		}
		return list[0], nil
	}
	full, _ := content.Normalize(name) // A tag need not be a valid name.
	var has []string
	for _, m := range index.idx.Manifests {
		carried, tag := m.Annotations[images.AnnotationImageName], m.Annotations[ocispec.AnnotationRefName]
		as, _ := content.Normalize(carried)
		if name != "" && (tag == name || carried == name || as == full && full != "" || m.Digest.String() == name) {
			i := slices.IndexFunc(found, func(f named) bool { return f.target.Digest == m.Digest })
			if i < 0 {
				return named{target: bare(m)}, nil // It is not an image, and the caller's check will say so.
			}
			f := found[i]
			f.target = bare(m)
			return f, nil
		}
		has = append(has, cmp.Or(carried, tag, m.Digest.String()))
	}
	if name == "" {
		return named{}, fmt.Errorf("read archive: it holds %d images (%s); say which, as in oci:PATH:NAME: %w", len(found), strings.Join(has, ", "), errdefs.ErrInvalidArgument)
	}
	return named{}, fmt.Errorf("read archive: no image %q in it; it has %d: %s: %w", name, len(found), strings.Join(has, ", "), errdefs.ErrNotFound)
}
