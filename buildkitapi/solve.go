package buildkitapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	epochtypes "github.com/moby/buildkit/exporter/exptypes"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/util/entitlements"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/internal/progress"
)

// solving is one request to build.
type solving struct {
	*Server
	req     *controlapi.SolveRequest
	session *build.Session
	solver  *dockerfile.Solver
	caller  *caller
	watch   *watcher
	// response is what the client is told of the result.
	response map[string]string
}

// Solve implements controlapi.ControlServer.
func (s *Server) Solve(ctx context.Context, req *controlapi.SolveRequest) (*controlapi.SolveResponse, error) {
	log := s.log(req.Ref)
	defer log.add(nil)
	if err := refuse(req); err != nil {
		return nil, err
	}
	x := &solving{Server: s, req: req, watch: newWatcher(req.Ref, log), response: map[string]string{}}
	err := build.Run(ctx, s.o.Engine, build.Options{Steps: progress.New(nil), Names: exportedNames(req)}, func(ctx context.Context, session *build.Session) (err error) {
		x.session = session
		if err := x.open(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, x.caller.close()) }()
		res, err := x.result(ctx)
		if err != nil {
			return err
		}
		return x.export(ctx, res)
	})
	if err != nil {
		return nil, inItsWords(err)
	}
	return &controlapi.SolveResponse{ExporterResponse: x.response}, nil
}

// refuse returns an error that names what a request asks for and nobody does.
func refuse(req *controlapi.SolveRequest) error {
	no := func(what string) error { return fmt.Errorf("%s: %w", what, errors.ErrUnsupported) }
	if c := req.Cache; c != nil && len(c.Exports) > 0 {
		return no("export of the cache")
	}
	if req.SourcePolicy != nil || req.SourcePolicySession != "" {
		return no("policies of sources")
	}
	for key := range req.FrontendAttrs {
		if strings.HasPrefix(key, "attest:") {
			return no("attestations")
		}
	}
	return nil
}

// open makes what the build needs.
func (x *solving) open(ctx context.Context) error {
	client, err := x.sessions.Get(ctx, x.req.Session, false)
	if err != nil {
		return err
	}
	if x.caller, err = newCaller(x.sessions, client, filepath.Join(x.o.Engine.Root, "tmp")); err != nil {
		return err
	}
	o := dockerfile.Options{Images: veneer.NewImages(x.o.Engine, x.o.Registry), Runner: x.o.Runner, Watch: x.watch, Caller: x.caller}
	if o.Layers.Compression, err = x.compression(); err != nil {
		return err
	}
	for _, e := range x.req.Entitlements {
		switch {
		case e == string(entitlements.EntitlementSecurityInsecure) && x.o.AllowInsecure:
			o.Process.AllowInsecure = true
		case e == string(entitlements.EntitlementNetworkHost) && x.o.AllowHostNetwork:
			o.Process.AllowHostNetwork = true
		default:
			return fmt.Errorf("entitlement %s is not allowed", e)
		}
	}
	if o.Layers.Epoch, err = x.epoch(); err != nil {
		return err
	}
	x.solver = dockerfile.NewSolver(x.session, o)
	return nil
}

// compression is that of the layers, which all images of a request share.
func (x *solving) compression() (layer.Compression, error) {
	c := layer.Gzip
	for _, e := range x.req.Exporters {
		switch text := e.Attrs["compression"]; text {
		case "":
		case "gzip", "zstd":
			c = layer.Compression(text)
		case "uncompressed":
			c = layer.None
		default:
			return "", fmt.Errorf("compression %s: %w", text, errors.ErrUnsupported)
		}
	}
	return c, nil
}

// epoch is the time that the request asks for.
func (x *solving) epoch() (*time.Time, error) {
	text := x.req.FrontendAttrs["build-arg:SOURCE_DATE_EPOCH"]
	for _, e := range x.req.Exporters {
		if t := e.Attrs[string(epochtypes.OptKeySourceDateEpoch)]; t != "" {
			text = t
		}
	}
	return parseEpoch(text)
}

func parseEpoch(text string) (*time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, nil //nolint:nilerr // The frontend knows words for it, and says what is wrong.
	}
	t := time.Unix(n, 0).UTC()
	return &t, nil
}

// result is what the frontend makes, which may be the client's, or the definition.
func (x *solving) result(ctx context.Context) (*gw.Result, error) {
	c := newClient(x.solver, x.watch, x.req.FrontendAttrs, x.req.FrontendInputs)
	if x.req.Frontend != "" {
		return c.Solve(ctx, gw.SolveRequest{Frontend: x.req.Frontend, FrontendOpt: x.req.FrontendAttrs, FrontendInputs: x.req.FrontendInputs})
	}
	if x.req.Definition != nil {
		return c.Solve(ctx, gw.SolveRequest{Definition: x.req.Definition})
	}
	b := &bridge{client: c, ctx: ctx, inputs: x.req.FrontendInputs, done: make(chan struct{}), refs: map[string]gw.Reference{}}
	x.bridges.put(x.req.Ref, b)
	defer x.bridges.put(x.req.Ref, nil)
	select {
	case <-b.done:
		return b.res, b.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// image is one of a result: for a platform, if there are several.
type image struct {
	platform string
	ref      gw.Reference
}

// images are those of a result, in the order that the frontend says.
func images(res *gw.Result) ([]image, error) {
	if len(res.Refs) == 0 {
		return []image{{ref: res.Ref}}, nil
	}
	var order exptypes.Platforms
	if err := json.Unmarshal(res.Metadata[exptypes.ExporterPlatformsKey], &order); err != nil {
		return nil, fmt.Errorf("read which platforms the result is for: %w", err)
	}
	var all []image
	for _, p := range order.Platforms {
		ref, ok := res.Refs[p.ID]
		if !ok {
			return nil, fmt.Errorf("there is no result for %s", p.ID)
		}
		all = append(all, image{platform: p.ID, ref: ref})
	}
	return all, nil
}

// several reports whether a result is one for each of several platforms, or to be
// shown as if it were.
func several(res *gw.Result) bool { return len(res.Refs) > 0 }

func (x *solving) exportTo(ctx context.Context, res *gw.Result, e *controlapi.Exporter, id int) error {
	switch e.Type {
	case "local", "tar":
		return x.exportFiles(ctx, res, e, id)
	case "image", "oci", "docker":
		return x.exportImage(ctx, res, e, id)
	}
	return fmt.Errorf("exporter %s: %w", e.Type, errors.ErrUnsupported)
}

// setEpoch takes the time that the Dockerfile says, unless an exporter is told another.
func (x *solving) setEpoch(res *gw.Result) error {
	for _, e := range x.req.Exporters {
		if e.Attrs[string(epochtypes.OptKeySourceDateEpoch)] != "" {
			return nil
		}
	}
	epoch, err := dockerfile.EpochOf(res)
	if err == nil && epoch != nil {
		x.solver.SetEpoch(epoch)
	}
	return err
}

// export does what becomes of the result. Without an exporter it is made, and kept as
// what later builds need not do.
func (x *solving) export(ctx context.Context, res *gw.Result) error {
	for key, data := range res.Metadata {
		if strings.HasPrefix(key, "result.") || key == "version" || strings.HasPrefix(key, "frontend.") {
			x.response[key] = string(data)
		}
	}
	all, err := images(res)
	if err != nil {
		return err
	}
	if err := x.setEpoch(res); err != nil {
		return err
	}
	for id, e := range x.req.Exporters {
		if err := x.exportTo(ctx, res, e, id); err != nil {
			return err
		}
	}
	if len(x.req.Exporters) > 0 {
		return nil
	}
	for _, img := range all {
		if img.ref == nil {
			continue
		}
		if err := img.ref.Evaluate(ctx); err != nil {
			return err
		}
	}
	return nil
}
