package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
)

// ArchiveRef names an image that is in no engine. It is written oci:DIR or
// archive:FILE, with :NAME after it where there are several images; an image
// of an engine that is called "oci" or "archive" is written with its host, as
// in docker.io/library/oci:1.
type ArchiveRef struct {
	// Layout: Path is an OCI image layout in a directory, else an archive file.
	Layout bool
	// Path is as typed.
	Path string
	// Name is that of one of the images there; empty: the only one.
	Name string
}

// ParseArchiveRef reads an [ArchiveRef]; not ok: it is none. What follows the
// path is a name only if the path exists without it.
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

// stage stores an archive's image for as long as the session's lease lasts.
func (s *Session) stage(ctx context.Context, a ArchiveRef, platform string) (_ *content.Image, err error) {
	r, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	target, err := archive.Stage(ctx, s.Engine.Client, r, a.Name, platform)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	img, err := content.ResolveTarget(ctx, s.Engine.Client.ContentStore(), target, platform)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	img.Name = a.String()
	return img, nil
}

func (a ArchiveRef) open(ctx context.Context) (io.ReadCloser, error) {
	if a.Layout {
		return archive.OpenLayout(a.Path)
	}
	return archive.OpenFile(ctx, a.Path)
}
