package buildkitapi

import (
	"context"
	"fmt"
	"sync"

	"github.com/moby/buildkit/client/buildid"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// bridge is a build whose frontend runs in the client. Its calls come on connections
// of their own, and are done under the context of the build.
type bridge struct {
	*client
	ctx    context.Context //nolint:containedctx // of the build, see above
	inputs map[string]*pb.Definition
	done   chan struct{}

	mu   sync.Mutex
	refs map[string]gw.Reference
	res  *gw.Result
	err  error
	over bool
}

func (b *bridge) ref(id string) (gw.Reference, error) {
	if id == "" {
		return nil, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.refs[id]
	if r == nil {
		return nil, status.Errorf(codes.NotFound, "there is no result %s", id)
	}
	return r, nil
}

// add gives a result a name, by which the frontend asks for it.
func (b *bridge) add(ctx context.Context, r gw.Reference) (*gwpb.Ref, error) {
	if r == nil {
		return &gwpb.Ref{}, nil
	}
	st, err := r.ToState()
	if err != nil {
		return nil, err
	}
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	id := identity.NewID()
	b.refs[id] = r
	return &gwpb.Ref{Id: id, Def: def.ToPB()}, nil
}

// end takes what the frontend came to.
func (b *bridge) end(res *gw.Result, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.res, b.err, b.over = res, err, true
		close(b.done)
	}
}

// bridges are the builds that there are, by their IDs.
type bridges struct {
	gwpb.UnimplementedLLBBridgeServer
	mu   sync.Mutex
	all  map[string]*bridge
	more chan struct{}
}

func newBridges() *bridges { return &bridges{all: map[string]*bridge{}, more: make(chan struct{})} }

// put sets the build of an ID; nil: it is over.
func (s *bridges) put(id string, b *bridge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b == nil {
		delete(s.all, id)
	} else {
		s.all[id] = b
	}
	close(s.more)
	s.more = make(chan struct{})
}

// get returns the build that a call is of, which may be about to begin.
func (s *bridges) get(ctx context.Context) (*bridge, error) {
	id := buildid.FromIncomingContext(ctx)
	for {
		s.mu.Lock()
		b, more := s.all[id], s.more
		s.mu.Unlock()
		if b != nil {
			return b, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Ping implements gwpb.LLBBridgeServer: it tells what is supported.
func (s *bridges) Ping(ctx context.Context, _ *gwpb.PingRequest) (*gwpb.PongResponse, error) {
	b, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	o := b.BuildOpts()
	pong := &gwpb.PongResponse{}
	for _, c := range gwpb.Caps.All() {
		if c.ID != string(gwpb.CapGatewayExec) && o.Caps.Contains(gwpbID(c.ID)) {
			pong.FrontendAPICaps = append(pong.FrontendAPICaps, c)
		}
	}
	for _, c := range pb.Caps.All() {
		if o.LLBCaps.Contains(gwpbID(c.ID)) {
			pong.LLBCaps = append(pong.LLBCaps, c)
		}
	}
	return pong, nil
}

// Solve implements gwpb.LLBBridgeServer.
func (s *bridges) Solve(ctx context.Context, req *gwpb.SolveRequest) (*gwpb.SolveResponse, error) {
	b, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	res, err := b.Solve(b.ctx, gw.SolveRequest{
		Definition: req.Definition, Frontend: req.Frontend, FrontendOpt: req.FrontendOpt, FrontendInputs: req.FrontendInputs, Evaluate: req.Evaluate,
	})
	if err != nil {
		return nil, inItsWords(err)
	}
	out := &gwpb.Result{Metadata: res.Metadata}
	if res.Refs == nil {
		r, err := b.add(ctx, res.Ref)
		if err != nil {
			return nil, err
		}
		out.Result = &gwpb.Result_Ref{Ref: r}
		return &gwpb.SolveResponse{Result: out}, nil
	}
	all := &gwpb.RefMap{Refs: map[string]*gwpb.Ref{}}
	for name, r := range res.Refs {
		if all.Refs[name], err = b.add(ctx, r); err != nil {
			return nil, err
		}
	}
	out.Result = &gwpb.Result_Refs{Refs: all}
	return &gwpb.SolveResponse{Result: out}, nil
}

// ResolveSourceMeta implements gwpb.LLBBridgeServer.
func (s *bridges) ResolveSourceMeta(ctx context.Context, req *gwpb.ResolveSourceMetaRequest) (*gwpb.ResolveSourceMetaResponse, error) {
	b, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	o := sourceresolver.Opt{LogName: req.LogName, ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: req.ResolveMode}, OCILayoutOpt: &sourceresolver.ResolveOCILayoutOpt{}}
	if req.Platform != nil {
		p := req.Platform.Spec()
		o.ImageOpt.Platform, o.OCILayoutOpt.Platform = &p, &p
	}
	if req.Git != nil {
		o.GitOpt = &sourceresolver.ResolveGitOpt{ReturnObject: req.Git.ReturnObject}
	}
	m, err := b.ResolveSourceMetadata(b.ctx, req.Source, o)
	if err != nil {
		return nil, err
	}
	out := &gwpb.ResolveSourceMetaResponse{Source: m.Op}
	if m.Image != nil {
		out.Image = &gwpb.ResolveSourceImageResponse{Digest: string(m.Image.Digest), Config: m.Image.Config}
	}
	if m.Git != nil {
		out.Git = &gwpb.ResolveSourceGitResponse{
			Checksum: m.Git.Checksum, Ref: m.Git.Ref, CommitChecksum: m.Git.CommitChecksum, CommitObject: m.Git.CommitObject, TagObject: m.Git.TagObject,
		}
	}
	if m.HTTP != nil {
		out.HTTP = httpMeta(m.HTTP)
	}
	return out, nil
}

// ResolveImageConfig implements gwpb.LLBBridgeServer.
func (s *bridges) ResolveImageConfig(ctx context.Context, req *gwpb.ResolveImageConfigRequest) (*gwpb.ResolveImageConfigResponse, error) {
	b, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	o := sourceresolver.Opt{LogName: req.LogName, ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: req.ResolveMode}}
	if sourceresolver.ResolverType(req.ResolverType) == sourceresolver.ResolverTypeOCILayout {
		o.OCILayoutOpt = &sourceresolver.ResolveOCILayoutOpt{Store: sourceresolver.ResolveImageConfigOptStore{SessionID: req.SessionID, StoreID: req.StoreID}}
	}
	if req.Platform != nil {
		p := req.Platform.Spec()
		if o.ImageOpt.Platform = &p; o.OCILayoutOpt != nil {
			o.OCILayoutOpt.Platform = &p
		}
	}
	ref, d, config, err := b.ResolveImageConfig(b.ctx, req.Ref, o)
	if err != nil {
		return nil, err
	}
	return &gwpb.ResolveImageConfigResponse{Ref: ref, Digest: string(d), Config: config}, nil
}

// Inputs implements gwpb.LLBBridgeServer.
func (s *bridges) Inputs(ctx context.Context, _ *gwpb.InputsRequest) (*gwpb.InputsResponse, error) {
	b, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	return &gwpb.InputsResponse{Definitions: b.inputs}, nil
}

// Warn implements gwpb.LLBBridgeServer.
func (s *bridges) Warn(ctx context.Context, req *gwpb.WarnRequest) (*gwpb.WarnResponse, error) {
	b, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	b.watch.warn(digest.Digest(req.Digest), string(req.Short), gw.WarnOpts{
		Level: int(req.Level), Detail: req.Detail, URL: req.Url, SourceInfo: req.Info, Range: req.Ranges,
	})
	return &gwpb.WarnResponse{}, nil
}

// Return implements gwpb.LLBBridgeServer: the frontend is done.
func (s *bridges) Return(ctx context.Context, req *gwpb.ReturnRequest) (*gwpb.ReturnResponse, error) {
	b, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	if e := req.Error; e != nil {
		b.end(nil, grpcerrors.FromGRPC(status.ErrorProto(&spb.Status{Code: e.Code, Message: e.Message, Details: e.Details})))
		return &gwpb.ReturnResponse{}, nil
	}
	b.end(b.returned(req.Result))
	return &gwpb.ReturnResponse{}, nil
}

func (b *bridge) returned(in *gwpb.Result) (*gw.Result, error) {
	res := gw.NewResult()
	res.Metadata = in.GetMetadata()
	switch x := in.GetResult().(type) {
	case nil:
	case *gwpb.Result_Ref:
		r, err := b.ref(x.Ref.GetId())
		if err != nil {
			return nil, err
		}
		res.SetRef(r)
	case *gwpb.Result_Refs:
		for name, one := range x.Refs.Refs {
			r, err := b.ref(one.GetId())
			if err != nil {
				return nil, err
			}
			res.AddRef(name, r)
		}
	default:
		return nil, fmt.Errorf("a result of type %T is not supported", x)
	}
	return res, nil
}
