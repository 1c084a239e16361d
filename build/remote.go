package build

import (
	"context"
	"fmt"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
)

// Remote is [Session.Image] for an image in its registry. Only its documents are
// fetched. Of its layers those are fetched whose bytes are needed: neither are they
// in the engine, nor is the index of the layer in the cache. They are stored without
// a name until the run is over.
func (s *Session) Remote(ctx context.Context, ref string, opts registry.Options) (*content.Image, error) {
	s.Steps.Start("resolve")
	r, err := registry.Open(ctx, s.Engine.Client, ref, opts)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	img, err := r.Image(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.Name, err)
	}
	if e := img.Encryption(); e.Any() {
		return nil, fmt.Errorf("read %s: %s: %w", img.Name, e, content.ErrEncrypted)
	}
	if err := s.Adopt(ctx, img); err != nil {
		return nil, err
	}
	s.ends.spare = true
	s.Roots.Fetch(img.Missing, r.Fetch)
	img.Missing = nil
	return img, nil
}
