package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
)

// ArchiveRef names an image outside of the engine. It is written oci:DIR or
// archive:FILE, followed by :NAME if there are several images. An image in the
// engine that is called "oci" or "archive" is written with its registry, as in
// docker.io/library/oci:1.
type ArchiveRef struct {
	// Layout: Path is a directory with an OCI image layout. Otherwise it is an
	// archive.
	Layout bool
	// Path is as typed.
	Path string
	// Name chooses one of several images; empty: there is only one.
	Name string
}

// ParseArchiveRef reads an [ArchiveRef]. It returns false for other references. The
// text after a path's last colon is a name only if the path before it exists.
func ParseArchiveRef(ref string) (a ArchiveRef, ok bool) {
	a.Path, a.Layout = strings.CutPrefix(ref, "oci:")
	if !a.Layout {
		if a.Path, ok = strings.CutPrefix(ref, "archive:"); !ok {
			return ArchiveRef{}, false
		}
	}
	whole := a.Path
	for i := len(whole); i > 0; i = strings.LastIndexByte(whole[:i], ':') {
		if _, err := os.Lstat(whole[:i]); err == nil {
			a.Path, a.Name = whole[:i], strings.TrimPrefix(whole[i:], ":")
			break
		}
	}
	return a, a.Path != ""
}

// String returns the reference as it is typed.
func (a ArchiveRef) String() string {
	kind := "archive:"
	if a.Layout {
		kind = "oci:"
	}
	if a.Name != "" {
		return kind + a.Path + ":" + a.Name
	}
	return kind + a.Path
}

// Stage stores an archive's image, for all platforms that are in it. It returns what
// the image's name stands for. Only the session's lease keeps it. Its errors do not
// name the archive.
func (s *Session) Stage(ctx context.Context, a ArchiveRef, platform string) (_ ocispec.Descriptor, err error) {
	r, err := a.open(ctx)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return archive.Stage(ctx, s.Engine.Client, r, a.Name, platform)
}

// stage is [Session.Stage] for one platform's image.
func (s *Session) stage(ctx context.Context, a ArchiveRef, platform string) (*content.Image, error) {
	r, err := a.open(ctx)
	if err != nil {
		return nil, err // It names the path.
	}
	target, err := archive.Stage(ctx, s.Engine.Client, r, a.Name, platform)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	s.ends.spare = true
	img, err := content.ResolveTarget(ctx, s.Engine.Client.ContentStore(), target, platform)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	img.Name = a.String()
	return img, nil
}

// ImageFrom is [Session.Image] for an image in another store, of which the engine gets
// what it lacks. It is stored without a name until the run is over.
func (s *Session) ImageFrom(ctx context.Context, from cstore.Store, target ocispec.Descriptor, platform string) (*content.Image, error) {
	found, err := content.ResolveTarget(ctx, from, target, platform)
	if err != nil {
		return nil, err
	}
	found.Name = found.Manifest.Digest.String()
	if err := content.Copy(ctx, s.Engine.Client, from, found); err != nil {
		return nil, err
	}
	img, err := content.ResolveTarget(ctx, s.Engine.Client.ContentStore(), found.Manifest, platform)
	if err != nil {
		return nil, err
	}
	img.Name = found.Name
	return img, s.Adopt(ctx, img)
}

func (a ArchiveRef) open(ctx context.Context) (io.ReadCloser, error) {
	if info, err := os.Stat(a.Path); err == nil && info.IsDir() != a.Layout {
		other, is := ArchiveRef{Path: a.Path, Layout: !a.Layout, Name: a.Name}, "file"
		if other.Layout {
			is = "directory"
		}
		return nil, fmt.Errorf("open %s: it is a %s, so write %s: %w", a, is, other, errdefs.ErrInvalidArgument)
	}
	if a.Layout {
		return archive.OpenLayout(a.Path)
	}
	return archive.OpenFile(ctx, a.Path)
}
