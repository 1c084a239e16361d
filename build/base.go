package build

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
)

// Base finds an image in the engine to build upon. The session's lease holds it
// until the run is over.
func (s *Session) Base(ctx context.Context, ref, platform string) (*content.Image, error) {
	s.Steps.Start("resolve")
	img, err := content.Resolve(ctx, s.Engine.Client, ref, platform)
	if err != nil {
		return nil, err
	}
	return img, s.Adopt(ctx, img)
}

// Image is [Session.Base] for an image that may also be in an archive, see
// [ArchiveRef]. Such an image is stored without a name until the run is over.
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

// Adopt is [Session.Base] for an image that the caller has found: it checks that it
// can be built upon, and holds it until the run is over.
func (s *Session) Adopt(ctx context.Context, img *content.Image) error {
	if err := checkDiffIDs(img); err != nil {
		return err
	}
	return content.Hold(ctx, s.Engine.Client, img)
}

// checkDiffIDs refuses a base whose diff IDs are not SHA-256. Containerd could
// unpack neither the base nor an image on it.
func checkDiffIDs(base *content.Image) error {
	for _, id := range base.DiffIDs {
		if id.Algorithm() != digest.Canonical {
			return fmt.Errorf("base %s: its config names a layer's content %s; containerd unpacks layers that are named by %s alone, so take another base", base.Name, id, digest.Canonical)
		}
	}
	return nil
}
