package veneer

import (
	"context"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/container"
)

// CommitRequest says which container becomes an image, and how.
type CommitRequest struct {
	// Container is an ID or its beginning, the name that nerdctl gave, or in
	// Kubernetes CONTAINER, POD/CONTAINER or NAMESPACE/POD/CONTAINER.
	Container string
	// Base is the image to commit onto. Empty: the image that the container was made
	// from. With another image, the layer holds all differences from that.
	Base string
	// Only are paths in the container. What is neither at nor below one of them is
	// left out. Empty: everything is committed. Symbolic links are not followed.
	Only []string
	// Exclude are .dockerignore patterns relative to the root file system.
	Exclude []string
	// NoPause reads the container while it runs.
	NoPause bool
	// Compare, MaxLayers and Differ are as in [BuildRequest].
	Compare   differ.CompareMode
	MaxLayers int
	Differ    DifferKind

	ReadOptions
	LayerOptions
	ImageOptions
	Reports
}

func (r CommitRequest) withDefaults() (_ CommitRequest, err error) {
	r.MaxLayers = maxLayers(r.MaxLayers)
	if r.LayerOptions, err = r.LayerOptions.withDefaults(); err != nil {
		return r, err
	}
	if err := checkMethod(r.Differ, r.Reader, r.NoUnpack); err != nil {
		return r, err
	}
	if err := r.Compare.Check(); err != nil {
		return r, err
	}
	r.ImageOptions, err = r.ImageOptions.withDefaults()
	return r, err
}

// Commit makes an image of what a container wrote, as one layer on the image that
// the container was made from. Config and names are as the request says. It uses
// the container's snapshotter, whatever the engine's is.
//
// A running container is paused while its files are read, until the layer is
// written. It is resumed after an error or the end of ctx, too. A file that the
// container wrote again with the same content is no change.
func Commit(ctx context.Context, e *engine.Engine, req CommitRequest) (*Result, error) {
	req, err := req.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := container.Find(e.Context(ctx), e, req.Container)
	if err != nil {
		return nil, err
	}
	o := build.Options{Names: req.Tags, NoCache: req.NoCache, NoUnpack: req.NoUnpack && req.Base != "", AllowEncrypted: req.AllowEncrypted}
	return run(ctx, e.On(c.Snapshotter), o, req.Reports, func(ctx context.Context, s *build.Session) (*Result, error) {
		base, err := req.base(ctx, s, &c)
		if err != nil {
			return nil, err
		}
		config, edits, err := req.Config.Apply(base.ConfigJSON)
		if err != nil {
			return nil, err
		}
		diff, err := s.Compare(ctx, build.Files(base, "base"), &build.Targets{
			Specs: []TargetSpec{req.spec()}, Platform: req.Platform, Compare: req.Compare, ForceDelete: true, Container: &c,
		}, req.Reader)
		if err != nil {
			return nil, err
		}
		if diff, err = s.Flatten(ctx, diff, req.MaxLayers); err != nil {
			return nil, err
		}
		m := making{
			LayerOptions: req.LayerOptions, ImageOptions: req.ImageOptions, service: req.Differ == DifferService, from: base, configJSON: config,
			verb: strings.Join(append([]string{"COMMIT"}, req.Only...), " "), done: edits,
		}
		return m.make(ctx, s, diff)
	})
}

// base is the image that the layer lies upon.
func (r CommitRequest) base(ctx context.Context, s *build.Session, c *containers.Container) (*content.Image, error) {
	if r.Base != "" {
		return s.Base(ctx, r.Base, r.Platform)
	}
	return s.BaseOfContainer(ctx, c, r.Platform)
}

// spec is the target that a commit applies to the base: all files of the container.
func (r CommitRequest) spec() TargetSpec {
	return TargetSpec{
		Op: differ.Sync, Type: SourceContainer, Ref: r.Container, Source: "/", Dest: "/", DirLinks: differ.ReplaceDirLinks,
		Only: r.Only, Exclude: r.Exclude, NoPause: r.NoPause,
	}
}
