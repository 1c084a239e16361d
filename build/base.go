package build

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
)

// Base finds an image of the engine to build upon, and holds it until the run
// is over.
func (s *Session) Base(ctx context.Context, ref, platform string) (*content.Image, error) {
	s.Steps.Start("resolve")
	img, err := content.Resolve(ctx, s.Engine.Client, ref, platform)
	if err != nil {
		return nil, err
	}
	return img, s.Adopt(ctx, img)
}

// Image is [Session.Base] for an image that may also be in an archive, see
// [ArchiveRef], and then it is stored, without a name, for as long as the run
// takes.
func (s *Session) Image(ctx context.Context, ref, platform string) (*content.Image, error) {
	a, ok := ParseArchiveRef(ref)
	if !ok {
		return s.Base(ctx, ref, platform)
	}
	s.Steps.Start("resolve")
	img, err := s.stage(ctx, a, platform)
	if err != nil {
		return nil, err
	}
	return img, s.Adopt(ctx, img)
}

// Adopt holds an image that was found otherwise until the run is over, and
// makes sure that it can be built upon.
func (s *Session) Adopt(ctx context.Context, img *content.Image) error {
	if err := checkDiffIDs(img); err != nil {
		return err
	}
	return content.Hold(ctx, s.Engine.Client, img)
}

// checkDiffIDs refuses a base whose layers' content is named by another
// algorithm than containerd's own: neither it nor what lies on it could be
// unpacked.
func checkDiffIDs(base *content.Image) error {
	for _, id := range base.DiffIDs {
		if id.Algorithm() != digest.Canonical {
			return fmt.Errorf("base %s: its config names a layer's content %s; containerd unpacks layers that are named by %s alone, so take another base", base.Name, id, digest.Canonical)
		}
	}
	return nil
}
