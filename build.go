package veneer

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/engine"
)

// BuildRequest says what to build. Only Base is required.
type BuildRequest struct {
	// Base is the image to build upon: a name as Docker users type it, a digest, or
	// "scratch" for none.
	Base string
	// Platforms asks for an index with an image for each platform, see
	// [Result].Manifests. "all" stands for each platform of the base. Platform must
	// be empty then, and only the host's platform is unpacked.
	Platforms []string
	// MaxLayers is how many layers a base may have. If it has as many or more, all
	// layers that Veneer has put upon the original base become one layer, together
	// with what differs now. So a chain of builds does not grow for ever. 0 is
	// [DefaultMaxLayers], and a negative number is no limit.
	MaxLayers int
	// Differ is [DifferVeneer] (default) or [DifferService].
	Differ DifferKind

	TargetOptions
	ReadOptions
	LayerOptions
	ImageOptions
	Reports

	// following and since are of [Watch].
	following *build.Following
	since     made
}

// withDefaults returns a copy of the request with all defaults filled in, or an
// error that says what is wrong with it.
func (r BuildRequest) withDefaults() (_ BuildRequest, err error) {
	r.MaxLayers = maxLayers(r.MaxLayers)
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

// Build makes an image of a base and what differs from it, and names it. After an
// error all names are as before, and nothing of the build is left in the engine.
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
	return build.Options{Names: r.Tags, NoUnpack: r.NoUnpack, NoCache: r.NoCache, AllowEncrypted: r.AllowEncrypted, Following: r.following}
}
