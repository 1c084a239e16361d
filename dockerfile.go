package veneer

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
	process "github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/internal/progress"
)

// What a Dockerfile's build is made of, for callers that import this package
// alone.
type (
	// DockerfileInput is what to build, and what the Dockerfile is told.
	DockerfileInput = dockerfile.Input
	// ProcessOptions are those of RUN.
	ProcessOptions = dockerfile.ProcessOptions
	// Secret is what RUN --mount=type=secret shows.
	Secret = dockerfile.Secret
	// Agent is an SSH agent, or keys for one.
	Agent = dockerfile.Agent
	// StepWatcher follows a Dockerfile's steps.
	StepWatcher = dockerfile.Watcher
	// StepsWatcher is a [StepWatcher] that is told how many steps there are, too.
	StepsWatcher = dockerfile.StepsWatcher
	// StepEnding is how a step ended.
	StepEnding = dockerfile.Ending
	// RunError is a RUN that failed.
	RunError = dockerfile.RunError
	// MissingError says what this machine lacks for RUN, with what to do about it.
	MissingError = process.MissingError
	// DockerfileStep tells how a step went.
	DockerfileStep = dockerfile.Step
	// Lint is what is doubtful in a Dockerfile.
	Lint = dockerfile.Lint
)

// DockerfileExcerpts are the parts of the Dockerfile that an error of
// [BuildDockerfile] is about, with the numbers of their lines.
func DockerfileExcerpts(err error) []string { return dockerfile.Excerpts(err) }

// DockerfileRequest says which Dockerfile to build, and what becomes of it.
type DockerfileRequest struct {
	DockerfileInput
	Process ProcessOptions
	// Onto is an image that the result is to be, and one layer more: what the final
	// files differ in from that image's, by content. Empty: the result is the base's
	// layers and one for each step that changes something.
	Onto string
	// MaxLayers is as in [BuildRequest], for Onto.
	MaxLayers int
	// Pull asks the registries for the images that the file names, also for those
	// that are stored. Registry says how they are reached.
	Pull     bool
	Registry registry.Options
	// IndexAnnotations are set on the index of several platforms.
	IndexAnnotations map[string]string
	// Output is where the result goes instead of into the engine; nil: it gets its
	// names there.
	Output *DockerfileOutput
	// Watch follows the steps; nil: nobody does.
	Watch StepWatcher
	// part: it is one platform of several, whose index has the names.
	part bool

	LayerOptions
	ImageOptions
	Reports
}

func (r DockerfileRequest) withDefaults() (_ DockerfileRequest, err error) {
	if len(r.Dockerfile) == 0 && r.Repository == "" {
		return r, errors.New("build: the Dockerfile is empty")
	}
	if r.LayerOptions, err = r.LayerOptions.withDefaults(); err != nil {
		return r, err
	}
	if r.Platform, r.Platforms, err = r.namedPlatforms(); err != nil {
		return r, err
	}
	if len(r.IndexAnnotations) > 0 && len(r.Platforms) == 0 {
		return r, errors.New("annotate index: the image is for one platform, and has no index")
	}
	if r.NoUnpack {
		return r, errors.New("a Dockerfile's steps are snapshots, so that its image is always unpacked")
	}
	if r.Output.filesOnly() && r.Onto != "" {
		return r, errors.New("a layer upon another image makes an image, and the output is to be files: leave out one of them")
	}
	if !r.Config.IsZero() {
		return r, errors.New("a Dockerfile says itself what the config is")
	}
	if r.Watch == nil {
		r.Watch = nobody{}
	}
	r.MaxLayers = maxLayers(r.MaxLayers)
	r.ImageOptions, err = r.ImageOptions.withDefaults()
	return r, err
}

// nameless reports whether the image gets no name on purpose.
func (r DockerfileRequest) nameless() bool { return r.part || r.Output != nil }

// nobody watches.
type nobody struct{}

func (nobody) Started(int, string)   {}
func (nobody) Output(int, []byte)    {}
func (nobody) Ended(int, StepEnding) {}
func (nobody) Warn(string)           {}

// BuildDockerfile does what a Dockerfile says, and makes an image of it. Steps that
// an earlier build has done are not done again; they are kept in the engine. On an
// error the names are as before, and nothing is left but the steps that were done.
func BuildDockerfile(ctx context.Context, e *engine.Engine, req DockerfileRequest) (*Result, error) {
	req, err := req.withDefaults()
	if err != nil {
		return nil, err
	}
	names := req.Tags
	if req.Output != nil {
		req.Tags = nil
	}
	return run(ctx, e, build.Options{Names: req.Tags, AllowEncrypted: req.AllowEncrypted}, req.Reports, func(ctx context.Context, s *build.Session) (*Result, error) {
		o, err := req.options(ctx, e)
		if err != nil {
			return nil, err
		}
		all, err := dockerfile.Build(ctx, s, o)
		if err != nil {
			return nil, err
		}
		req.Epoch = all[0].Epoch()
		var res *Result
		if len(req.Platforms) > 0 {
			res, err = req.finishAll(ctx, s, all)
		} else if res, err = req.finish(ctx, s, all[0]); err == nil {
			res.Dockerfile = dockerfileResult(all[0])
		}
		if err != nil {
			return nil, err
		}
		res.Dockerfile.Done = dockerfile.StepsOf(all)
		if req.Output != nil && !req.Output.filesOnly() {
			err = req.Output.writeImage(ctx, s, res, names)
		}
		return res, err
	})
}

// CheckDockerfile looks at a Dockerfile and builds nothing.
func CheckDockerfile(ctx context.Context, e *engine.Engine, req DockerfileRequest) (*Lint, error) {
	if len(req.Dockerfile) == 0 && req.Repository == "" {
		return nil, errors.New("check: the Dockerfile is empty")
	}
	if req.Watch == nil {
		req.Watch = nobody{}
	}
	var lint *Lint
	err := build.Run(ctx, e, build.Options{Steps: progress.New(nil)}, func(ctx context.Context, s *build.Session) (err error) {
		lint, err = dockerfile.Check(ctx, s, dockerfile.Options{
			Input: req.DockerfileInput, Process: req.Process, Watch: req.Watch, Images: req.finder(e),
		})
		return err
	})
	return lint, err
}

func (r DockerfileRequest) finder(e *engine.Engine) *imageFinder {
	return &imageFinder{engine: e, pull: r.Pull, registry: r.Registry, found: map[string]*content.Image{}}
}

func (r DockerfileRequest) options(ctx context.Context, e *engine.Engine) (dockerfile.Options, error) {
	o := dockerfile.Options{
		Input: r.DockerfileInput, Process: r.Process, Watch: r.Watch, Deferred: r.Onto != "" || r.Output.filesOnly(),
		Layers: dockerfile.LayerOptions{Compression: r.Compression, Level: r.CompressionLevel, Epoch: r.Epoch},
		Images: r.finder(e),
	}
	runner, err := process.New(e, process.Options{Notify: r.Watch.Warn})
	if err != nil {
		var missing *process.MissingError
		if !errors.As(err, &missing) || missing.What != "runc" {
			return o, err
		}
		// A file without RUN does not need it.
		o.Runner = noRunner{err}
		return o, nil
	}
	o.Runner = runner
	r.sweep(ctx, e, runner)
	return o, nil
}

// sweep ends what killed builds left running, which may go on for ever, and removes
// their secrets.
func (r DockerfileRequest) sweep(ctx context.Context, e *engine.Engine, runner process.Runner) {
	_, err := runner.Sweep(ctx)
	if err = errors.Join(err, dockerfile.SweepMemory(ctx, e.Root)); err != nil {
		r.Watch.Warn("not removed of killed builds: " + err.Error())
	}
}

// noRunner says at the first RUN what is missing.
type noRunner struct{ err error }

// Run implements [dockerfile.Runner].
func (n noRunner) Run(context.Context, []mount.Mount, process.Process) error { return n.err }

// finish makes the image of what the steps made.
func (r DockerfileRequest) finish(ctx context.Context, s *build.Session, made *dockerfile.Outcome) (*Result, error) {
	if r.Output.filesOnly() {
		res := &Result{Platform: platforms.FormatAll(made.Config.Platform)}
		return res, r.Output.writeFiles(ctx, s, made)
	}
	if r.Onto != "" {
		return r.onto(ctx, s, made)
	}
	s.Steps.Start("record")
	img, err := made.Image(ctx, r.Annotations)
	if err != nil {
		return nil, err
	}
	s.Remember(ctx)
	res := &Result{Names: r.Tags, Unpacked: true, ChainID: img.ChainID, Platform: platforms.FormatAll(img.Platform), Pushable: true}
	res.Target = ocispec.Descriptor{MediaType: img.Manifest.MediaType, Digest: img.Manifest.Digest, Size: img.Manifest.Size}
	res.Digest = res.Target.Digest
	m := making{ImageOptions: r.ImageOptions, nameless: r.nameless()}
	if err := m.tell(ctx, s, &build.Diff{Base: made.Base()}, res); err != nil {
		return nil, err
	}
	return res, r.record(ctx, s, res.Target)
}

// onto makes the image of another one's layers and one more.
func (r DockerfileRequest) onto(ctx context.Context, s *build.Session, made *dockerfile.Outcome) (*Result, error) {
	base, err := s.Base(ctx, r.Onto, r.Platform)
	if err != nil {
		return nil, fmt.Errorf("build onto %s: %w", r.Onto, err)
	}
	if p, q := base.Platform, made.Config.Platform; !base.IsScratch() && (p.OS != q.OS || p.Architecture != q.Architecture) {
		return nil, fmt.Errorf("build onto %s: it is for %s, and the Dockerfile makes an image for %s", r.Onto, content.FormatPlatform(p), content.FormatPlatform(q))
	}
	config, err := content.Transplant(made.ConfigJSON, base)
	if err != nil {
		return nil, err
	}
	diff, err := s.Compare(ctx, build.Files(base, "base"), made.Made(), "")
	if err != nil {
		return nil, err
	}
	if diff, err = s.Flatten(ctx, diff, r.MaxLayers); err != nil {
		return nil, err
	}
	m := making{
		LayerOptions: r.LayerOptions, ImageOptions: r.ImageOptions, from: base, configJSON: config, own: true, verb: "BUILD", nameless: r.nameless(),
	}
	return m.make(ctx, s, diff)
}

func dockerfileResult(made *dockerfile.Outcome) *DockerfileResult {
	d := &DockerfileResult{Images: made.Images, Steps: made.Steps, Cached: made.Cached, StepBytes: made.UsualBytes()}
	for _, l := range made.Layers() {
		d.Layers = append(d.Layers, LayerResult{Digest: l.Desc.Digest, DiffID: l.DiffID, MediaType: l.Desc.MediaType, Size: l.Desc.Size})
	}
	return d
}
