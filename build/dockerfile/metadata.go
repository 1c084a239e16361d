package dockerfile

import (
	"context"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
)

// ResolveSourceMetadata implements gw.Client: what can be told of a source before it
// is used. The frontend asks it of SOURCE_DATE_EPOCH's source, whose time it takes.
func (g *gateway) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (_ *sourceresolver.MetaResponse, err error) {
	res := &sourceresolver.MetaResponse{Op: op}
	scheme, ref, _ := strings.Cut(op.Identifier, "://")
	switch scheme {
	case "docker-image":
		opt.OCILayoutOpt = nil
		res.Image, err = g.imageMetadata(ctx, ref, opt)
	case "oci-layout":
		layout := &sourceresolver.ResolveOCILayoutOpt{Store: sourceresolver.ResolveImageConfigOptStore{
			SessionID: op.Attrs[pb.AttrOCILayoutSessionID], StoreID: op.Attrs[pb.AttrOCILayoutStoreID],
		}}
		if opt.OCILayoutOpt != nil {
			layout.Platform = opt.OCILayoutOpt.Platform
		}
		opt.OCILayoutOpt = layout
		res.Image, err = g.imageMetadata(ctx, ref, opt)
	case "git":
		res.Git, err = g.s.gitMetadata(ctx, op, opt)
	case "http", "https":
		res.HTTP, err = g.s.httpMetadata(ctx, op, opt)
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

func (g *gateway) imageMetadata(ctx context.Context, ref string, opt sourceresolver.Opt) (*sourceresolver.ResolveImageResponse, error) {
	_, d, config, err := g.ResolveImageConfig(ctx, ref, opt)
	if err != nil {
		return nil, err
	}
	return &sourceresolver.ResolveImageResponse{Digest: d, Config: config}, nil
}

// httpMetadata downloads the file. A step that needs it takes it from there.
func (s *solver) httpMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.ResolveHTTPResponse, error) {
	d, err := s.downloaded(ctx, opt.LogName, op)
	if err != nil {
		return nil, err
	}
	return &sourceresolver.ResolveHTTPResponse{Digest: d.sum, Filename: d.entries[0].Name, LastModified: d.modified}, nil
}

// gitMetadata finds the commit, and fetches it if its text is asked for.
func (s *solver) gitMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (_ *sourceresolver.ResolveGitResponse, err error) {
	r, err := parseRepository(op)
	if err != nil {
		return nil, err
	}
	p := s.start(nil, strings.ReplaceAll(opt.LogName, r.remote, r.name()))
	defer func() { p.end(false, err) }()
	res := &sourceresolver.ResolveGitResponse{}
	return res, s.withGit(ctx, r, func(g *gitRun) error {
		at, err := s.resolveGit(ctx, g)
		if err != nil {
			return err
		}
		if res.Ref, res.Checksum = at.ref, at.object; res.Ref == "" {
			res.Ref = at.object
		}
		if at.commit != at.object {
			res.CommitChecksum = at.commit
		}
		if opt.GitOpt != nil && opt.GitOpt.ReturnObject {
			res.CommitObject, res.TagObject, err = g.objects(ctx, at)
		}
		return err
	})
}
