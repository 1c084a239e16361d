package veneer

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
)

// imageFinder finds the images that a Dockerfile names: those that are stored, and
// the others at their registries.
type imageFinder struct {
	engine   *engine.Engine
	pull     bool
	registry registry.Options
	// found are by reference and platform, so that one build sees one image.
	found map[string]*content.Image
}

// Find implements [dockerfile.Images]. The frontend adds the digest of what it was
// given first to a name and its tag.
func (f *imageFinder) Find(ctx context.Context, s *build.Session, ref, platform string) (*content.Image, error) {
	name, want, pinned := strings.Cut(ref, "@")
	if known := f.found[name+"\n"+platform]; known != nil && (!pinned || f.is(known, want)) {
		return known, nil
	}
	img, err := f.resolve(ctx, s, ref, platform)
	if err != nil {
		return nil, err
	}
	if err := s.Adopt(ctx, img); err != nil {
		return nil, err
	}
	f.found[name+"\n"+platform] = img
	return img, nil
}

// is reports whether an image, or the index that it was chosen from, has a digest.
func (f *imageFinder) is(img *content.Image, want string) bool {
	d := digest.Digest(want)
	return img.Manifest.Digest == d || img.Record.Target.Digest == d
}

// resolve looks in the engine, and then at the registry.
func (f *imageFinder) resolve(ctx context.Context, s *build.Session, ref, platform string) (*content.Image, error) {
	name, want, pinned := strings.Cut(ref, "@")
	if !f.pull {
		img, err := content.Resolve(ctx, f.engine.Client, name, platform)
		if err == nil && (!pinned || f.is(img, want)) {
			return img, nil
		}
		if pinned {
			if img, err := content.Resolve(ctx, f.engine.Client, want, platform); err == nil {
				return img, nil
			}
		} else if !errdefs.IsNotFound(err) {
			return nil, err
		}
	}
	defer s.Steps.Within(progress.Step{Kind: "pull", Of: ref})()
	o := f.registry
	o.Platform = platform
	_, err := Pull(ctx, f.engine, ref, o)
	if errdefs.IsNotFound(err) {
		if img, _ := f.only(ctx, ref); img != nil {
			return img, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("image %s is not stored here, and cannot be fetched: %w", ref, err)
	}
	img, err := content.Resolve(ctx, f.engine.Client, ref, platform)
	if err != nil && pinned {
		return content.Resolve(ctx, f.engine.Client, want, platform)
	}
	return img, err
}

// only returns an image that there is for one platform alone, though it is not the one
// asked for: as BuildKit does, whose frontend then warns. nil: it is none such.
func (f *imageFinder) only(ctx context.Context, ref string) (*content.Image, error) {
	o := f.registry
	o.Platform = ""
	record, err := Pull(ctx, f.engine, ref, o)
	if err != nil || !images.IsManifestType(record.Target.MediaType) {
		return nil, err
	}
	return content.Resolve(ctx, f.engine.Client, ref, "")
}

// NewImages finds the images that builds name: those that are stored, and the others
// at their registries. It is for one build.
func NewImages(e *engine.Engine, o registry.Options) dockerfile.Images {
	return &imageFinder{engine: e, registry: o, found: map[string]*content.Image{}}
}
