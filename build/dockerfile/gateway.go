package dockerfile

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	caps "github.com/moby/buildkit/util/apicaps/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// gateway is what the frontend takes for BuildKit's daemon.
type gateway struct {
	s    *solver
	opts map[string]string
	// bounds are for a Dockerfile that the frontend reads; nil: it is the solver's.
	bounds *bounds
}

var _ gw.Client = (*gateway)(nil)

// BuildOpts implements gw.Client. It offers no merge operation, so COPY --link is
// an ordinary COPY. Steps store only differences anyway.
func (g *gateway) BuildOpts() gw.BuildOpts {
	p := platforms.Normalize(platforms.DefaultSpec())
	return gw.BuildOpts{
		Opts: g.opts, SessionID: "veneer", Product: "veneer", Workers: []gw.WorkerInfo{{ID: "veneer", Platforms: []ocispec.Platform{p}}},
		LLBCaps: capsWithout(pb.Caps, pb.CapMergeOp, pb.CapDiffOp), Caps: capsWithout(gwpb.Caps),
	}
}

func capsWithout(list apicaps.CapList, without ...apicaps.CapID) apicaps.CapSet {
	var have []*caps.APICap
	for _, c := range list.All() {
		left := false
		for _, w := range without {
			left = left || c.ID == string(w)
		}
		if !left {
			have = append(have, c)
		}
	}
	return list.CapSet(have)
}

// Inputs implements gw.Client; there are none.
func (g *gateway) Inputs(context.Context) (map[string]llb.State, error) { return nil, nil }

// NewContainer implements gw.Client.
func (g *gateway) NewContainer(context.Context, gw.NewContainerRequest) (gw.Container, error) {
	return nil, fmt.Errorf("containers of a frontend: %w", errors.ErrUnsupported)
}

// Warn implements gw.Client.
func (g *gateway) Warn(_ context.Context, _ digest.Digest, msg string, o gw.WarnOpts) error {
	if o.URL != "" {
		msg += " (" + o.URL + ")"
	}
	g.s.Watch.Warn(msg)
	return nil
}

// ResolveImageConfig implements gw.Client.
func (g *gateway) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	platform := ""
	if o := opt.OCILayoutOpt; o != nil {
		if o.Platform != nil {
			platform = platforms.FormatAll(*o.Platform)
		}
		return g.resolveLayout(ctx, ref, platform, o)
	}
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		platform = platforms.FormatAll(*opt.ImageOpt.Platform)
	}
	img, err := g.s.image(ctx, ref, platform)
	if err != nil {
		return "", "", nil, err
	}
	if err := g.checkBase(img.ConfigJSON); err != nil {
		return "", "", nil, fmt.Errorf("build on %s: %w", ref, err)
	}
	return ref, img.Manifest.Digest, img.ConfigJSON, nil
}

// Solve implements gw.Client. It does only what is needed at once. The build itself
// is done on Evaluate.
func (g *gateway) Solve(_ context.Context, req gw.SolveRequest) (*gw.Result, error) {
	if req.Frontend != "" {
		return nil, fmt.Errorf("the frontend %s is not supported", req.Frontend)
	}
	v, err := load(req.Definition)
	if err != nil {
		return nil, err
	}
	res := gw.NewResult()
	res.SetRef(&reference{s: g.s, def: req.Definition, v: v, bounds: g.bounds})
	return res, nil
}
