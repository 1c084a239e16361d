package veneer

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/engine"
)

// SquashRequest says which image is to have fewer layers.
type SquashRequest struct {
	// Base is the image to be squashed. Config edits the config of the result.
	Base string
	// Onto is the image whose layers stay: they must be the lowest of Base's.
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

// Squash makes an image that shows the same files, and runs in the same way,
// of which the layers above a base are one. Without Onto that base is the
// image that Veneer's builds started from: the annotations that say what an
// image is based on are followed for as long as Veneer made the uppermost
// layer. Where the next image is not stored, or its layers are not the lower
// ones of this, the history decides: the layers stay that lie below the
// uppermost run of Veneer's own, and at least one. An image without such
// layers is squashed onto what its annotations name, or it is an error.
func Squash(ctx context.Context, e *engine.Engine, req SquashRequest) (*Result, error) {
	req, err := req.withDefaults()
	if err != nil {
		return nil, err
	}
	o := build.Options{NoCache: req.NoCache, NoUnpack: req.NoUnpack, AllowEncrypted: req.AllowEncrypted}
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
