package dockerfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
)

// Outcome is what a Dockerfile made. It can be used until the session ends.
type Outcome struct {
	// ConfigJSON is the image's config, whose root file system is not set, and
	// Config the same parsed.
	ConfigJSON []byte
	Config     ocispec.Image
	Counts
	// Platform is what it is for, as an index lists it.
	Platform ocispec.Platform
	// LayerAnnotations are set on the layers that the steps made.
	LayerAnnotations map[string]string

	s      *solver
	vertex *vertex
	state  *state
	// below is the config of the image that the result's first stage begins with.
	below ocispec.Image
}

// Build does what a Dockerfile says, for one platform or for each of several, in the
// order of [Input].Platforms. An error of one of its steps tells where in the file
// that is: see [Excerpts].
func Build(ctx context.Context, session *build.Session, o Options) ([]*Outcome, error) {
	s := newSolver(session, o)
	if err := s.remoteContext(ctx); err != nil {
		return nil, err
	}
	s.noteSyntax()
	res, err := s.frontend(ctx, s.frontendOptions())
	if err != nil {
		return nil, err
	}
	if s.Layers.Epoch == nil {
		if s.Layers.Epoch, err = EpochOf(res); err != nil {
			return nil, err
		}
	}
	all, err := s.outcomes(res)
	if err != nil {
		return nil, err
	}
	if err := checkEmulators(all); err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, out := range all {
		plan(out.vertex, o.Deferred)
		g.Go(func() (err error) {
			if out.state, err = s.solve(gctx, out.vertex); err == nil {
				out.state, err = s.based(gctx, out.state, !o.Deferred)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, out := range all {
		out.Counts = s.count(out)
	}
	return all, nil
}

// frontend gives the Dockerfile to the frontend, and returns the result.
func (s *solver) frontend(ctx context.Context, opts map[string]string) (*gw.Result, error) {
	if err := checkExpansion(s.Dockerfile, s.Args, nil); err != nil {
		return nil, err
	}
	s.Dockerfile = replaceSync(s.Dockerfile)
	if err := s.contextOptions(opts); err != nil {
		return nil, err
	}
	res, err := builder.Build(ctx, &gateway{s: s, opts: opts})
	if err != nil {
		return nil, err
	}
	// For an ignore file that cannot be read, the frontend goes on as if there were
	// none.
	s.mu.Lock()
	defer s.mu.Unlock()
	return res, s.unread
}

// noteSyntax tells that another frontend is not fetched.
func (s *solver) noteSyntax() {
	if ref, _, _, ok := parser.DetectSyntax(s.Dockerfile); ok {
		if !strings.HasPrefix(ref, "docker/dockerfile:") && !strings.HasPrefix(ref, "docker.io/docker/dockerfile:") {
			s.Watch.Warn("# syntax=" + ref + ": no frontend is fetched; the file is read as BuildKit's Dockerfile")
		}
	}
}

// frontendOptions are the build's options by the frontend's names.
func (s *solver) frontendOptions() map[string]string {
	o := map[string]string{"filename": s.fileName(), "cmdline": "veneer", "target": s.Target, "platform": s.Platform}
	if len(s.Platforms) > 0 {
		// Also where it is one: then there is one outcome, by its platform's name.
		o["platform"], o["multi-platform"] = strings.Join(s.Platforms, ","), "true"
	}
	for name, value := range s.Args {
		o["build-arg:"+name] = value
	}
	for name, value := range s.Labels {
		o["label:"+name] = value
	}
	if s.NoCache {
		o["no-cache"] = strings.Join(s.NoCacheStages, ",")
	}
	if len(s.Process.ExtraHosts) > 0 {
		o["add-hosts"] = strings.Join(s.Process.ExtraHosts, ",")
	}
	if len(s.Process.Ulimits) > 0 {
		o["ulimit"] = strings.Join(s.Process.Ulimits, ",")
	}
	if s.Process.ShmSize > 0 {
		o["shm-size"] = strconv.FormatInt(s.Process.ShmSize, 10)
	}
	if n := s.Process.Network; n != "" {
		o["force-network-mode"] = n
	}
	if e := s.Layers.Epoch; e != nil {
		if _, given := s.Args["SOURCE_DATE_EPOCH"]; !given {
			o["build-arg:SOURCE_DATE_EPOCH"] = strconv.FormatInt(e.Unix(), 10)
		}
	}
	maps.DeleteFunc(o, func(name, value string) bool {
		return value == "" && name != "no-cache" && !strings.Contains(name, ":")
	})
	return o
}

// Made is the rule that an image shows the outcome's files, for a comparison
// with another image.
func (o *Outcome) Made() build.Made {
	on, steps := o.state, o.state.then
	if o.state.on != nil {
		on = o.state.on
	}
	return build.Made{
		Name: "the Dockerfile",
		Of:   func(ctx context.Context) (tree.Tree, error) { return o.s.open(ctx, on) },
		Then: func(ctx context.Context, changes *differ.Changes) ([]io.Closer, error) {
			var opened []io.Closer
			if len(steps) > 0 {
				o.state.deferredBytes.Store(0)
			}
			for _, f := range steps {
				more, err := f.apply(ctx, changes)
				opened = append(opened, more...)
				if err != nil {
					return opened, f.v.located(err)
				}
			}
			return opened, nil
		},
	}
}

// WriteTar writes the files that were made as a tar.
func (o *Outcome) WriteTar(ctx context.Context, session *build.Session, w io.Writer) error {
	d, err := session.Compare(ctx, build.Files(content.Scratch(o.Config.Platform), "scratch"), o.Made(), "")
	if err != nil {
		return err
	}
	return session.WriteTar(ctx, d, w, o.s.Layers.Epoch)
}

// UsualBytes is the size of all files that the steps wrote. A build that does not
// compare its result with an earlier image stores so much, before compression. If
// steps are deferred, it is complete after the comparison.
func (o *Outcome) UsualBytes() int64 {
	if o.state.on != nil {
		return o.state.on.bytes + o.state.deferredBytes.Load()
	}
	return o.state.bytes
}

// Layers are the layers that the steps made, as they are stored.
func (o *Outcome) Layers() []graph.Layer {
	var own []graph.Layer
	for _, l := range o.state.layers[o.belowLayers():] {
		if l.DiffID != "" {
			own = append(own, l)
		}
	}
	return own
}

// belowLayers is how many of the layers are the base's.
func (o *Outcome) belowLayers() int { return min(len(o.below.RootFS.DiffIDs), len(o.state.layers)) }

// Lint is what is doubtful in a Dockerfile.
type Lint struct {
	// Text is for people, and JSON as BuildKit has it.
	Text string
	JSON json.RawMessage
	// Failed: something is wrong, or the file asks for doubts to be errors.
	Failed bool
}

// Check looks at a Dockerfile and builds nothing.
func Check(ctx context.Context, session *build.Session, o Options) (*Lint, error) {
	s := newSolver(session, o)
	if err := s.remoteContext(ctx); err != nil {
		return nil, err
	}
	opts := s.frontendOptions()
	opts["requestid"] = "frontend.lint"
	res, err := s.frontend(ctx, opts)
	if err != nil {
		return nil, err
	}
	l := &Lint{Text: asWritten(string(res.Metadata["result.txt"])), JSON: res.Metadata["result.json"]}
	l.Failed = !slices.Contains([]string{"", "0"}, string(bytes.TrimSpace(res.Metadata["result.statuscode"])))
	if l.Text == "" && l.JSON == nil {
		return nil, errors.New("check the Dockerfile: the frontend gave no answer")
	}
	return l, nil
}
