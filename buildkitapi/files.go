package buildkitapi

import (
	"context"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/apicaps"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// gwpbID is a capability by its name.
func gwpbID(id string) apicaps.CapID { return apicaps.CapID(id) }

// files returns the result that a call asks for files of.
func (s *bridges) files(ctx context.Context, id string) (*bridge, gw.Reference, error) {
	b, err := s.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	r, err := b.ref(id)
	if err == nil && r == nil {
		err = status.Error(codes.NotFound, "the result has no files")
	}
	return b, r, err
}

// ReadFile implements gwpb.LLBBridgeServer.
func (s *bridges) ReadFile(ctx context.Context, req *gwpb.ReadFileRequest) (*gwpb.ReadFileResponse, error) {
	b, r, err := s.files(ctx, req.Ref)
	if err != nil {
		return nil, err
	}
	q := gw.ReadRequest{Filename: req.FilePath}
	if req.Range != nil {
		q.Range = &gw.FileRange{Offset: int(req.Range.Offset), Length: int(req.Range.Length)}
	}
	data, err := r.ReadFile(b.ctx, q)
	return &gwpb.ReadFileResponse{Data: data}, err
}

// ReadDir implements gwpb.LLBBridgeServer.
func (s *bridges) ReadDir(ctx context.Context, req *gwpb.ReadDirRequest) (*gwpb.ReadDirResponse, error) {
	b, r, err := s.files(ctx, req.Ref)
	if err != nil {
		return nil, err
	}
	list, err := r.ReadDir(b.ctx, gw.ReadDirRequest{Path: req.DirPath, IncludePattern: req.IncludePattern})
	return &gwpb.ReadDirResponse{Entries: list}, err
}

// StatFile implements gwpb.LLBBridgeServer.
func (s *bridges) StatFile(ctx context.Context, req *gwpb.StatFileRequest) (*gwpb.StatFileResponse, error) {
	b, r, err := s.files(ctx, req.Ref)
	if err != nil {
		return nil, err
	}
	st, err := r.StatFile(b.ctx, gw.StatRequest{Path: req.Path})
	return &gwpb.StatFileResponse{Stat: st}, err
}

// Evaluate implements gwpb.LLBBridgeServer.
func (s *bridges) Evaluate(ctx context.Context, req *gwpb.EvaluateRequest) (*gwpb.EvaluateResponse, error) {
	b, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	r, err := b.ref(req.Ref)
	if err == nil && r != nil {
		err = inItsWords(r.Evaluate(b.ctx))
	}
	return &gwpb.EvaluateResponse{}, err
}

func httpMeta(m *sourceresolver.ResolveHTTPResponse) *gwpb.ResolveSourceHTTPResponse {
	out := &gwpb.ResolveSourceHTTPResponse{Checksum: m.Digest.String(), Filename: m.Filename}
	if m.LastModified != nil {
		out.LastModified = timestamppb.New(*m.LastModified)
	}
	return out
}
