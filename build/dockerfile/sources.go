package dockerfile

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/moby/buildkit/solver/pb"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/internal/fault"
)

// source finds the files of a source operation.
func (s *solver) source(ctx context.Context, v *vertex, op *pb.SourceOp) (*state, error) {
	scheme, name, _ := strings.Cut(op.Identifier, "://")
	switch scheme {
	case "docker-image":
		return s.imageState(ctx, v, name)
	case "oci-layout":
		return s.layoutState(ctx, v, name, op)
	case "local":
		if s.Caller != nil {
			return s.callersDir(ctx, v, name, op)
		}
		return s.local(ctx, name, op)
	case "http", "https":
		return s.download(ctx, v, op)
	case "git":
		return s.git(ctx, v, op)
	}
	return nil, fmt.Errorf("%s: sources of type %s are not supported", v.name(), scheme)
}

// imageState unpacks an image.
func (s *solver) imageState(ctx context.Context, v *vertex, name string) (_ *state, err error) {
	p := s.start(v, v.name())
	defer func() { p.end(false, err) }()
	img, err := s.image(ctx, name, platformOf(v.op.Platform))
	if err != nil {
		return nil, err
	}
	return s.unpacked(ctx, img)
}

// unpacked is the state of an image.
func (s *solver) unpacked(ctx context.Context, img *content.Image) (*state, error) {
	s.images.Lock()
	err := s.session.Roots.Of(img, "base").Unpack(ctx)
	s.images.Unlock()
	if err != nil {
		return nil, err
	}
	st := &state{snapshot: img.ChainID.String(), id: img.ChainID.String(), layered: true, docker: img.Docker, base: img, image: img}
	for i, l := range img.Layers {
		st.layers = append(st.layers, graph.Layer{Desc: l, DiffID: img.DiffIDs[i]})
	}
	return st, nil
}

// image finds an image, one at a time: the session tells of one step at a time.
func (s *solver) image(ctx context.Context, ref, platform string) (*content.Image, error) {
	if platform == "" {
		platform = s.Platform
	}
	s.images.Lock()
	defer s.images.Unlock()
	return s.Images.Find(ctx, s.session, ref, platform)
}

func platformOf(p *pb.Platform) string {
	if p == nil {
		return ""
	}
	return content.FormatPlatform(p.Spec())
}

// local returns a directory that the user named, without what .dockerignore
// excludes.
func (s *solver) local(ctx context.Context, name string, op *pb.SourceOp) (*state, error) {
	s.mu.Lock()
	known := s.locals[name+"\n"+op.Attrs[pb.AttrExcludePatterns]]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	src, err := s.openLocal(ctx, name)
	if err != nil {
		return nil, err
	}
	var exclude []string
	if text := op.Attrs[pb.AttrExcludePatterns]; text != "" {
		if err := json.Unmarshal([]byte(text), &exclude); err != nil {
			return nil, fmt.Errorf("read the patterns of %s: %w", src.name, err)
		}
	}
	if src.tree, err = filterTree(src.tree, exclude, nil, true); err != nil {
		return nil, fmt.Errorf("%s: %w", src.name, err)
	}
	st := &state{source: src}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locals[name+"\n"+op.Attrs[pb.AttrExcludePatterns]] = st
	return st, nil
}

// callersDir is a directory of the caller. Only the files that the source selects
// are in it.
func (s *solver) callersDir(ctx context.Context, v *vertex, name string, op *pb.SourceOp) (_ *state, err error) {
	p := s.start(v, v.name())
	defer func() { p.end(false, err) }()
	dir, err := s.Caller.Dir(ctx, name, op.Attrs, func(bytes int64) {
		if w, ok := s.Watch.(TransferWatcher); ok {
			w.Came(p.number, bytes)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("get the directory %s: %w", name, err)
	}
	l, err := disk.OpenLocal(dir)
	if err != nil {
		return nil, err
	}
	l.LeaveXattrs()
	s.closeAtEnd(l)
	return &state{source: &source{name: "the directory " + name, tree: l, foreign: true}}, nil
}

func (s *solver) openLocal(ctx context.Context, name string) (*source, error) {
	switch {
	case name == localDockerfile:
		return &source{name: "the Dockerfile", tree: s.dockerfileTree()}, nil
	case name == localContext && s.ContextTree != nil:
		return &source{name: "the build context", tree: s.ContextTree, foreign: true}, nil
	case name == localContext && s.Context == "":
		return &source{name: "the build context (which is empty)", tree: newSmall()}, nil
	}
	dir, what := s.Context, "the build context"
	if name != localContext {
		dir, what = s.Contexts[name], "the build context "+name
	}
	if dir == "" {
		return nil, &fault.Error{Kind: ErrNoContext, Op: "build context", Ref: name}
	}
	l, err := disk.OpenLocal(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	l.Guard()
	l.LeaveXattrs()
	s.closeAtEnd(l)
	return &source{name: what, tree: l, cache: s.session.SourceCache(ctx, l), foreign: true}, nil
}

// localDockerfile and localContext are the frontend's names of what it reads.
const (
	localDockerfile = "dockerfile"
	localContext    = "context"
)

// dockerfileTree is the directory that the frontend finds the Dockerfile in.
func (s *solver) dockerfileTree() tree.Tree {
	t := newSmall()
	t.add(file(s.fileName(), 0o644), s.Dockerfile)
	if s.Ignore != nil {
		t.add(file(s.fileName()+".dockerignore", 0o644), s.Ignore)
	}
	return t
}

// fileName is how the frontend asks for the Dockerfile, and calls it.
func (o *Options) fileName() string {
	if o.Name == "" {
		return "Dockerfile"
	}
	return baseName(o.Name)
}

// maxDownload limits the size of a file that ADD downloads. It is on the disk of
// the host that builds.
const maxDownload = 16 << 30

// download does the ADD of a URL. Each build downloads the file, since only its
// bytes tell whether it is the same.
func (s *solver) download(ctx context.Context, v *vertex, op *pb.SourceOp) (*state, error) {
	if u, err := url.Parse(op.Identifier); err == nil && u.User != nil {
		s.Watch.Warn(fmt.Sprintf("ADD %s: its user name and password stay in the image's history; use RUN with a secret mount", u.Redacted()))
	}
	d, err := s.downloaded(ctx, v.name(), op)
	if err != nil {
		return nil, err
	}
	return &state{source: &source{name: op.Identifier, tree: d}}, nil
}

// onceDownloaded is a file that a build downloads, which it does once.
type onceDownloaded struct {
	mu   sync.Mutex
	file *downloaded
}

// downloaded returns the file of an http source, under the name of the step that
// needs it first.
func (s *solver) downloaded(ctx context.Context, name string, op *pb.SourceOp) (_ *downloaded, err error) {
	key := fmt.Sprintf("%q %q", op.Identifier, op.Attrs) // Go prints a map in the order of its keys.
	s.mu.Lock()
	one := s.downloads[key]
	if one == nil {
		one = &onceDownloaded{}
		s.downloads[key] = one
	}
	s.mu.Unlock()
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.file != nil {
		return one.file, nil
	}
	p := s.start(nil, name)
	defer func() { p.end(false, err) }()
	d, err := fetch(ctx, &http.Client{Transport: s.transport()}, op, s.session.Roots.Spool)
	if err != nil {
		return nil, err
	}
	s.closeAtEnd(d)
	one.file = d
	return d, nil
}

func (s *solver) transport() http.RoundTripper {
	t := registry.Options{}.Patient()
	if s.Caller != nil {
		return s.Caller.Transport(t)
	}
	return t
}

// baseName is the last part of a path, as a file's name.
func baseName(p string) string { return path.Base(path.Clean("/" + p)) }
