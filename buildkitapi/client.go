package buildkitapi

import (
	"context"
	"fmt"
	"maps"

	"github.com/moby/buildkit/frontend/dockerfile/builder"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build/dockerfile"
)

// dockerfileFrontend is the frontend that is built in, and the only one.
const dockerfileFrontend = "dockerfile.v0"

// gatewayFrontend is that of BuildKit which runs another one, by its option source.
const gatewayFrontend = "gateway.v0"

// client is what a frontend takes for BuildKit's daemon. Unlike that of the solver it
// runs the built-in frontend, too.
type client struct {
	gw.Client
	solver *dockerfile.Solver
	watch  *watcher
	opts   map[string]string
}

func newClient(s *dockerfile.Solver, w *watcher, opts map[string]string, inputs map[string]*pb.Definition) *client {
	opts = maps.Clone(opts)
	if opts == nil {
		opts = map[string]string{}
	}
	return &client{Client: s.Client(opts, inputs), solver: s, watch: w, opts: opts}
}

// Warn implements gw.Client.
func (c *client) Warn(_ context.Context, vertex digest.Digest, text string, o gw.WarnOpts) error {
	c.watch.warn(vertex, text, o)
	return nil
}

// Solve implements gw.Client.
func (c *client) Solve(ctx context.Context, req gw.SolveRequest) (*gw.Result, error) {
	if req.Frontend == "" {
		return c.Client.Solve(ctx, req)
	}
	res, err := c.run(ctx, req.Frontend, req.FrontendOpt, req.FrontendInputs)
	if err == nil && req.Evaluate {
		err = res.EachRef(func(r gw.Reference) error { return r.Evaluate(ctx) })
	}
	return res, err
}

// run runs a frontend. No other is fetched: a syntax line is read as what it is in
// this frontend, which is told that by an option that says that it is it.
func (c *client) run(ctx context.Context, name string, opts map[string]string, inputs map[string]*pb.Definition) (*gw.Result, error) {
	if name == gatewayFrontend && opts["source"] == dockerfileFrontend {
		name = dockerfileFrontend
	}
	if name != dockerfileFrontend {
		return nil, fmt.Errorf("the frontend %s is not supported: there is %s alone", name, dockerfileFrontend)
	}
	f := newClient(c.solver, c.watch, opts, inputs)
	bounded, broken := c.solver.BoundedClient(f.opts, inputs)
	f.Client = bounded
	if _, ok := f.opts["cmdline"]; !ok {
		f.opts["cmdline"] = "veneer"
	}
	res, err := builder.Build(ctx, f)
	if err := broken(); err != nil {
		return nil, err
	}
	return res, err
}
