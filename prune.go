package veneer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/container"
	process "github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/snapshot"
)

// PruneRequest says what to remove.
type PruneRequest struct {
	// Cache also forgets indexes of layers and digests of source files, which later
	// builds make anew.
	Cache bool
	// KeepSteps is how many bytes of Dockerfiles' steps and cache mounts stay; 0:
	// [DefaultKeepSteps]; negative: none. With Cache none do.
	KeepSteps int64
	// KeepFor is how long they stay that are not used; 0: [DefaultKeepFor].
	KeepFor time.Duration
	// All forgets every step and cache mount.
	All bool
	// DryRun removes nothing, and tells what would be, as far as it can be known.
	DryRun bool
}

// Pruned is what was removed, or would be.
type Pruned struct {
	// DryRun: nothing was removed, but would have been.
	DryRun bool `json:"dry_run,omitempty"`
	// Processes are the names of what ran RUN steps for killed builds: their processes
	// went on until now.
	Processes []string `json:"processes"`
	// Resumed are containers that a killed commit had left paused.
	Resumed []string `json:"resumed"`
	// Mounts are directories that images had been mounted on and are not any more: what
	// kept them is forgotten.
	Mounts []string `json:"mounts"`
	lease.Swept
	// Blobs are those that garbage collection removed, and BlobBytes their size.
	Blobs     int64 `json:"blobs"`
	BlobBytes int64 `json:"blob_bytes"`
	// Cached are indexes of layers and digests of source trees that were remembered.
	Cached     int   `json:"cached"`
	CacheBytes int64 `json:"cache_bytes"`
	// Temporary are directories that killed processes left among temporary files.
	Temporary []string `json:"temporary"`
	// Kept are what Dockerfiles' builds kept for later ones.
	Kept PrunedSteps `json:"dockerfile"`
}

// Prune removes what killed processes left in the engine's namespace, in its caches
// and among temporary files, lets containers go on that they left paused, and has
// the engine collect what no image refers to. What a running build holds stays.
// It goes on after an error, and returns what it did together with the errors.
func Prune(ctx context.Context, e *engine.Engine, req PruneRequest) (*Pruned, error) {
	p := &Pruned{DryRun: req.DryRun}
	do := p.prune
	if req.DryRun {
		do = p.look
	}
	keep := req.KeepSteps
	if keep == 0 {
		keep = DefaultKeepSteps
	}
	if req.Cache || req.All {
		keep = 0
	}
	// Before the snapshots that they write to.
	err := p.endProcesses(ctx, e)
	var keptErr error
	p.Kept, keptErr = PruneSteps(ctx, e, keep, cmp.Or(req.KeepFor, DefaultKeepFor), req.DryRun)
	err = errors.Join(err, keptErr, do(e.Context(ctx), e, req.Cache))
	for _, list := range []*[]string{&p.Processes, &p.Resumed, &p.Mounts, &p.Leases, &p.Snapshots, &p.Ingests, &p.Temporary} {
		if *list == nil {
			*list = []string{} // In JSON they are lists.
		}
	}
	return p, err
}

// endProcesses ends the processes of RUN that killed builds left, and removes what
// they were given. Who may run none can end none either.
func (p *Pruned) endProcesses(ctx context.Context, e *engine.Engine) error {
	r, err := process.New(e, process.Options{})
	var missing *process.MissingError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return err
	}
	if p.DryRun {
		p.Processes, err = r.Left(ctx)
		return err
	}
	p.Processes, err = r.Sweep(ctx)
	return errors.Join(err, dockerfile.SweepMemory(ctx, e.Root))
}

func (p *Pruned) prune(ctx context.Context, e *engine.Engine, cache bool) error {
	before, beforeBytes, err := countBlobs(ctx, e)
	if err != nil {
		return err
	}
	var errs []error
	p.Resumed, err = container.ResumeAll(ctx, e)
	errs = append(errs, err)
	p.Mounts, err = forgetGone(ctx, e, false)
	errs = append(errs, err)
	p.Swept, err = lease.Sweep(ctx, e.Client, e.Snapshotter)
	errs = append(errs, err, e.CollectGarbage(ctx), p.sweepNameless(ctx, e))
	after, afterBytes, err := countBlobs(ctx, e)
	errs = append(errs, err)
	if err == nil {
		// A build that runs meanwhile adds blobs.
		p.Blobs, p.BlobBytes = max(0, before-after), max(0, beforeBytes-afterBytes)
	}
	forget := build.Cache(e).Sweep
	if cache {
		forget = build.Cache(e).Prune
	}
	c, err := forget()
	p.Cached, p.CacheBytes = c.Files, c.Bytes
	errs = append(errs, err)
	p.Temporary, err = snapshot.SweepTemp()
	return errors.Join(append(errs, err)...)
}

// look is prune, but that it only looks.
func (p *Pruned) look(ctx context.Context, e *engine.Engine, cache bool) error {
	var errs []error
	left, err := lease.LeftPaused(ctx, e.Client.LeasesService())
	for _, l := range left {
		p.Resumed = append(p.Resumed, l.Container)
	}
	errs = append(errs, err)
	p.Mounts, err = forgetGone(ctx, e, true)
	errs = append(errs, err)
	p.Swept, err = lease.Left(ctx, e.Client, e.Snapshotter)
	errs = append(errs, err, p.sweepNameless(ctx, e))
	garbage, err := content.FindGarbage(ctx, e.Client)
	p.Blobs, p.BlobBytes = garbage.Blobs, garbage.Bytes
	errs = append(errs, err)
	c, err := build.Cache(e).Left(cache)
	p.Cached, p.CacheBytes = c.Files, c.Bytes
	errs = append(errs, err)
	p.Temporary, err = snapshot.LeftTemp()
	return errors.Join(append(errs, err)...)
}

// sweepNameless adds half-written blobs that the engine does not list to the ingests.
func (p *Pruned) sweepNameless(ctx context.Context, e *engine.Engine) error {
	found, err := e.SweepNameless(ctx, p.DryRun)
	p.Ingests, p.IngestBytes = append(p.Ingests, found.Dirs...), p.IngestBytes+found.Bytes
	return err
}

func countBlobs(ctx context.Context, e *engine.Engine) (count, bytes int64, err error) {
	err = e.Client.ContentStore().Walk(ctx, func(info cstore.Info) error {
		count++
		bytes += info.Size
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("list blobs: %w", err)
	}
	return count, bytes, nil
}
