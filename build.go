package veneer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// Build makes an image of a base and what differs from it, and names it. On
// an error the names are as before and nothing of the build is left in the
// engine. The engine stays open.
func Build(ctx context.Context, e *engine.Engine, req Request) (*Result, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	if len(req.Platforms) > 0 {
		return buildPlatforms(ctx, e, req)
	}
	return newBuild(e, req).run(ctx)
}

// run does the steps of a build, each on what the ones before it left.
func (b *build) run(ctx context.Context) (_ *Result, err error) {
	ctx, release, err := content.NewLease(b.engine.Context(ctx), b.engine.Client)
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, b.close(ctx, release, err != nil))
		if err == nil {
			b.result.Steps, b.result.Seconds = b.steps.end()
		}
	}()

	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"resolve", b.resolveForBuild},
		{StepCompare, b.compare},
		{"layer", b.makeLayer},
		{"snapshot", b.unpack},
		{"record", b.record},
		{"export", b.export},
	} {
		if step.do == nil {
			continue
		}
		b.steps.start(step.name)
		if err := step.do(ctx); err != nil {
			return nil, err
		}
	}
	return b.finish(), nil
}

// build is one run of Build or Diff: each step fills what later ones read.
type build struct {
	Request
	engine *engine.Engine
	log    *slog.Logger
	steps  *steps

	// findBase finds the base that Base does not name; nil: it does.
	findBase func(context.Context) (*content.Image, error)
	// given is the base where it was found before; nil: Base names it.
	given *content.Image
	// verb is what the history says was done; empty: the targets.
	verb string
	// unnamed: that the result has no name is as it should be.
	unnamed bool
	// compareFiles compares what the result shows with the base; nil: it is the
	// base and the targets.
	compareFiles func(context.Context, ReaderKind) error
	// settings is the image whose config the result has; nil: the base.
	settings *content.Image
	// export writes the result somewhere else than into the engine, where names
	// mean nothing then; nil: it does not.
	export func(context.Context) error
	// throughMounts: containers are read through their own mounts.
	throughMounts bool

	// base is what the layer lies upon, from what the user calls the base: lower
	// layers of it where it is squashed.
	base, from *content.Image
	squashed   int            // layers of from
	origin     *content.Image // that has the layers of base; nil: not known, or not squashed
	configJSON []byte         // the base's, edited
	createdBy  []string       // what the edits were

	changes *differ.Changes
	// baseTree is what changes was made against, opened the targets in it.
	baseTree tree.Tree
	opened   []differ.Target
	closers  []func() error
	// memories are what is known of source files and of snapshots, by the cache's key.
	memories map[digest.Digest]learnt

	blob   *layer.Blob         // nil: nothing changed
	desc   *ocispec.Descriptor // of the blob
	diffID digest.Digest
	// fill is the new snapshot, where this process unpacks the layer itself.
	fill     *snapshot.Fill
	unpacked bool

	image  content.Assembled
	result Result
}

func newBuild(e *engine.Engine, req Request) *build {
	if req.Log == nil {
		req.Log = slog.New(slog.DiscardHandler)
	}
	if req.Compression == "" {
		req.Compression = layer.Gzip
	}
	return &build{Request: req, engine: e, log: req.Log, steps: newSteps(req.Progress)}
}

// check finds what is wrong with a request before anything is done.
func (r *Request) check() error {
	compression := r.Compression
	if compression == "" {
		compression = layer.Gzip
	}
	if err := compression.Check(r.CompressionLevel); err != nil {
		return err
	}
	if r.Differ == DifferService && r.NoUnpack {
		return errors.New("--differ=service makes the layer from the unpacked snapshot and does not go with --no-unpack")
	}
	if r.Base == "" {
		return errors.New("no base image given; use --from NAME, or --from scratch")
	}
	for i, tag := range r.Tags {
		name, err := content.NormalizeTag(tag)
		if err != nil {
			return err
		}
		r.Tags[i] = name
	}
	for _, t := range r.Targets {
		if err := CheckSource(t.Source); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	if err := r.checkPlatforms(); err != nil {
		return err
	}
	return r.Config.Validate()
}

// close releases everything that the build holds. After a failure it waits
// until the engine has collected what was written, and also where that is a
// second copy of a snapshot, unless the result is nameless and would go too.
func (b *build) close(ctx context.Context, release content.Release, failed bool) error {
	err := b.closeSources()
	collect := failed
	if b.fill != nil {
		err = errors.Join(err, b.fill.Close(ctx))
		collect = collect || b.fill.Spare() && len(b.Tags) > 0
	}
	var opts []leases.DeleteOpt
	if collect {
		opts = append(opts, leases.SynchronousDelete)
	}
	return errors.Join(err, release(ctx, opts...))
}

func (b *build) closeSources() error {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i]())
	}
	b.closers = nil
	return errors.Join(errs...)
}

// resolveForBuild is resolve where a layer is to be made.
func (b *build) resolveForBuild(ctx context.Context) error {
	if err := b.resolve(ctx); err != nil {
		return err
	}
	if len(b.Targets) == 0 && b.compareFiles == nil {
		return nil // No layer.
	}
	return b.refuseEncrypted(b.base)
}

// resolve finds the base and edits its config.
func (b *build) resolve(ctx context.Context) error {
	var err error
	switch {
	case b.given != nil:
		b.base = b.given
	case b.findBase != nil:
		b.base, err = b.findBase(ctx)
	default:
		b.base, err = content.Resolve(ctx, b.engine.Client, b.Base, b.Platform)
	}
	if err != nil {
		return err
	}
	if err := checkDiffIDs(b.base); err != nil {
		return err
	}
	if err := content.Hold(ctx, b.engine.Client, b.base); err != nil {
		return err
	}
	if b.Targets, err = expandTargets(b.Targets, b.base.Platform); err != nil {
		return err
	}
	b.from = b.base
	configJSON := b.base.ConfigJSON
	if b.settings != nil {
		if configJSON, err = content.Transplant(b.settings.ConfigJSON, b.base); err != nil {
			return err
		}
	}
	b.configJSON, b.createdBy, err = b.Config.Apply(configJSON)
	return err
}

// checkDiffIDs refuses a base whose layers' content is named by another
// algorithm than containerd's own: neither it nor what lies on it could be
// unpacked.
func checkDiffIDs(base *content.Image) error {
	for _, id := range base.DiffIDs {
		if id.Algorithm() != digest.Canonical {
			return fmt.Errorf("base %s: its config names a layer's content %s; containerd unpacks layers that are named by %s alone, so take another base", base.Name, id, digest.Canonical)
		}
	}
	return nil
}
