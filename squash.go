package veneer

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/engine"
)

// SquashRequest says which layers of an image become one.
type SquashRequest struct {
	// Base is the image to squash. Config edits the result's config.
	Base string
	// Onto is the image whose layers stay. They must be the lowest layers of Base.
	// Empty: the original base, see [Squash].
	Onto string

	ReadOptions
	LayerOptions
	ImageOptions
	Reports
}

func (r SquashRequest) withDefaults() (_ SquashRequest, err error) {
	if r.LayerOptions, err = r.LayerOptions.withDefaults(); err != nil {
		return r, err
	}
	if r.Base == "" {
		return r, errors.New("squash an image: none is given")
	}
	if err := r.Reader.Check(); err != nil {
		return r, err
	}
	r.ImageOptions, err = r.ImageOptions.withDefaults()
	return r, err
}

// Squash makes an image with the same files and config, in which all layers above a
// base are one layer.
//
// Onto names that base. Without it, the base is the image that Veneer's builds
// started from. Squash finds it through annotations, which name the image that each
// image is based on. It follows them while Veneer made the uppermost layer. If the
// next image is not stored, or its layers are not the lower ones, the history
// decides: the topmost layers that Veneer made become one, and at least one layer
// stays. An image without layers of Veneer's is squashed onto the image that its
// annotations name. If they name none, that is an error.
func Squash(ctx context.Context, e *engine.Engine, req SquashRequest) (*Result, error) {
	req, err := req.withDefaults()
	if err != nil {
		return nil, err
	}
	o := build.Options{Names: req.Tags, NoCache: req.NoCache, NoUnpack: req.NoUnpack, AllowEncrypted: req.AllowEncrypted}
	return run(ctx, e, o, req.Reports, func(ctx context.Context, s *build.Session) (*Result, error) {
		img, err := s.Base(ctx, req.Base, req.Platform)
		if err != nil {
			return nil, err
		}
		config, edits, err := req.Config.Apply(img.ConfigJSON)
		if err != nil {
			return nil, err
		}
		diff, err := s.Squash(ctx, img, req.Onto, req.Platform, req.Reader)
		if err != nil {
			return nil, err
		}
		m := making{LayerOptions: req.LayerOptions, ImageOptions: req.ImageOptions, from: img, configJSON: config, done: edits}
		return m.make(ctx, s, diff)
	})
}
