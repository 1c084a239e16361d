package veneer

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/engine"
)

// BuildRequest says what to build. The zero value of every field but Base is its
// default.
type BuildRequest struct {
	// Base is the image built upon: a name as Docker users would type it, a
	// digest, or "scratch".
	Base string
	// Platforms, if there are any, make the result an index with an image for
	// each, "all" for each that the base has: see [Result].Manifests. Platform is
	// empty then, and only the host's platform is unpacked.
	Platforms []string
	// MaxLayers is how many layers a base may have before what Veneer put upon
	// the original base is stored again as one layer, with what differs now: so
	// no chain of builds grows for ever. 0 is [DefaultMaxLayers], negative no limit.
	MaxLayers int
	// Differ is [DifferVeneer] (default) or [DifferService].
	Differ DifferKind

	TargetOptions
	ReadOptions
	LayerOptions
	ImageOptions
	Reports
}

// withDefaults returns the request as it will be done, or says what is wrong
// with it before anything is.
func (r BuildRequest) withDefaults() (_ BuildRequest, err error) {
	if r.MaxLayers == 0 {
		r.MaxLayers = DefaultMaxLayers
	}
	if r.LayerOptions, err = r.LayerOptions.withDefaults(); err != nil {
		return r, err
	}
	if err := errors.Join(checkBase(r.Base), checkMethod(r.Differ, r.Reader, r.NoUnpack)); err != nil {
		return r, err
	}
	if err := r.checkTargets(); err != nil {
		return r, err
	}
	if err := r.checkPlatforms(); err != nil {
		return r, err
	}
	r.ImageOptions, err = r.ImageOptions.withDefaults()
	return r, err
}

// Build makes an image of a base and what differs from it, and names it. On
// an error the names are as before and nothing of the build is left in the
// engine. The engine stays open.
func Build(ctx context.Context, e *engine.Engine, req BuildRequest) (*Result, error) {
	req, err := req.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(req.Platforms) > 0 {
		return buildPlatforms(ctx, e, req)
	}
	return run(ctx, e, req.session(), req.Reports, func(ctx context.Context, s *build.Session) (*Result, error) {
		base, err := s.Base(ctx, req.Base, req.Platform)
		if err != nil {
			return nil, err
		}
		return req.buildOn(ctx, s, base, false)
	})
}

func (r BuildRequest) session() build.Options {
	return build.Options{NoUnpack: r.NoUnpack, NoCache: r.NoCache, AllowEncrypted: r.AllowEncrypted}
}
