package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	distref "github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
)

// IsRepository reports whether a build context is a repository, as docker build
// takes it: by the protocols of git, or a URL whose path ends in .git. HOST:PATH
// without a user may as well be a mistyped file.
func IsRepository(text string) bool {
	if !strings.Contains(text, "@") && !strings.Contains(text, "://") && !strings.HasPrefix(text, "github.com/") {
		return false
	}
	_, is, err := dfgitutil.ParseGitRef(text)
	return is || err == nil
}

// FetchContext downloads what a URL names: a Dockerfile, or an archive. The caller
// reads it to its end and closes it.
func FetchContext(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	from := req.URL.Redacted()
	resp, err := (&http.Client{Transport: registry.Options{}.Patient()}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", from, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("fetch %s: the server answers %s", from, resp.Status), resp.Body.Close())
	}
	return &fetched{ReadCloser: resp.Body, from: from, left: maxDownload}, nil
}

type fetched struct {
	io.ReadCloser
	from string
	left int64
}

func (f *fetched) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.left -= int64(n); f.left < 0 {
		return 0, fmt.Errorf("fetch %s: it is larger than %d bytes", f.from, int64(maxDownload))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("fetch %s: %w", f.from, err)
	}
	return n, err
}

// remoteContext reads the Dockerfile where the context is a repository.
func (s *solver) remoteContext(ctx context.Context) error {
	if s.Repository == "" || len(s.Dockerfile) > 0 {
		return nil
	}
	var o []llb.GitOption
	if s.Layers.Epoch != nil || s.Args["SOURCE_DATE_EPOCH"] != "" {
		o = append(o, llb.GitMTimeCommit())
	}
	st, _, err := dockerui.DetectGitContext(s.Repository, nil, o...)
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	def, err := st.Marshal(ctx)
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	v, err := load(def.ToPB())
	if err != nil {
		return err
	}
	found, err := s.solve(ctx, v)
	if err != nil {
		return err
	}
	t, err := s.tree(ctx, found)
	if err != nil {
		return err
	}
	files, err := differ.NewChanges(ctx, t)
	if err != nil {
		return err
	}
	names := []string{s.Name}
	if s.Name == "" {
		names = []string{"Veneerfile", "Dockerfile", "dockerfile"}
	}
	for _, name := range names {
		s.Dockerfile, err = files.ReadFile(ctx, name, maxRead)
		if err == nil {
			s.Name = name
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return fmt.Errorf("read the Dockerfile of the repository: %w", err)
}

// contextOptions are the options of the contexts, by the frontend's names. Those of
// directories it asks for by name.
func (s *solver) contextOptions(o map[string]string) error {
	if s.Repository != "" {
		o["context"], o["dockerfilekey"] = s.Repository, localDockerfile
	}
	for name, value := range s.Contexts {
		named, err := distref.ParseNormalizedNamed(name)
		if err != nil {
			return fmt.Errorf("build context %s: %w", name, err)
		}
		key := "context:" + strings.TrimSuffix(distref.FamiliarString(named), ":latest")
		scheme, rest, isURL := strings.Cut(value, "://")
		switch {
		case !isURL && !IsRepository(value):
			o[key] = "local:" + name
		case scheme == "oci-layout":
			// The frontend wants a digest there; the image is found by its number.
			s.layouts = append(s.layouts, layoutRef(rest))
			o[key] = fmt.Sprintf("oci-layout://layout-%d@%s", len(s.layouts)-1, digest.FromString(value))
		case scheme == "docker-image" || scheme == "http" || scheme == "https" || IsRepository(value):
			o[key] = value
		default:
			return fmt.Errorf("build context %s: %s is none of a directory, docker-image://, oci-layout://, https:// and a repository", name, value)
		}
	}
	return nil
}

// layoutRef is an image of a layout, DIR[:TAG][@DIGEST], as the session finds it.
// As docker build has it, the tag is latest where there is no other; a layout of one
// image needs none.
func layoutRef(text string) build.ArchiveRef {
	if dir, sum, ok := strings.Cut(text, "@"); ok {
		return build.ArchiveRef{Layout: true, Path: dir, Name: sum}
	}
	a, _ := build.ParseArchiveRef("oci:" + text)
	return a
}

// layout finds the image of a context that is a layout.
func (s *solver) layout(ctx context.Context, l Layout) (*content.Image, error) {
	s.images.Lock()
	defer s.images.Unlock()
	if img := s.fromLayouts[l]; img != nil {
		return img, nil
	}
	img, err := s.findLayout(ctx, l)
	if err == nil {
		s.fromLayouts[l] = img
	}
	return img, err
}

func (s *solver) findLayout(ctx context.Context, l Layout) (*content.Image, error) {
	if s.Caller != nil {
		return s.Caller.Image(ctx, s.session, l)
	}
	n, err := strconv.Atoi(strings.TrimPrefix(l.Store, "layout-"))
	if err != nil || n < 0 || n >= len(s.layouts) {
		return nil, fmt.Errorf("there is no layout %s", l.Store)
	}
	return s.session.Image(ctx, s.layouts[n].String(), l.Platform)
}

// layoutOf is what a reference to a layout says: NAME@DIGEST, of which the name is
// for messages.
func layoutOf(ref, session, store, platform string) Layout {
	_, sum, _ := strings.Cut(ref, "@")
	return Layout{Session: session, Store: store, Digest: digest.Digest(sum), Platform: platform}
}

// resolveLayout is ResolveImageConfig of a layout's image.
func (g *gateway) resolveLayout(ctx context.Context, ref, platform string, o *sourceresolver.ResolveOCILayoutOpt) (string, digest.Digest, []byte, error) {
	img, err := g.s.layout(ctx, layoutOf(ref, o.Store.SessionID, o.Store.StoreID, platform))
	if err != nil {
		return "", "", nil, err
	}
	return ref, img.Manifest.Digest, img.ConfigJSON, g.checkBase(img.ConfigJSON)
}

// layoutState unpacks the image of a context that is a layout.
func (s *solver) layoutState(ctx context.Context, v *vertex, ref string, op *pb.SourceOp) (_ *state, err error) {
	p := s.start(v, v.name())
	defer func() { p.end(false, err) }()
	img, err := s.layout(ctx, layoutOf(ref, op.Attrs[pb.AttrOCILayoutSessionID], op.Attrs[pb.AttrOCILayoutStoreID], platformOf(v.op.Platform)))
	if err != nil {
		return nil, err
	}
	return s.unpacked(ctx, img)
}
