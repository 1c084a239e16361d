package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

func (a *app) pruneCommand() *cobra.Command {
	var req veneer.PruneRequest
	var every time.Duration
	format, keepSteps := newFormat(), "10g"
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove what killed builds left, and what nothing refers to",
		Long: `Remove what killed builds left (processes of RUN and their secrets, leases,
snapshots, half-written blobs, files in the caches and in $TMPDIR). Forget what
veneer mount had mounted and is not any more. Let containers go on that a killed
commit left paused. Then let the engine collect what no image refers to. What a
running build holds stays. Images that have a name stay; veneer rmi removes those.

Of the steps of Dockerfiles and the directories of RUN --mount=type=cache, which
later builds use, those last used stay, up to --keep-steps in all, unless that is
longer ago than --keep-for; with --all or --cache none do.

With --dry-run nothing is removed: what would be is listed and counted, as far as
it can be known beforehand.

With --every it is done again after that time, until a signal or an error ends it:
for a pod on each node (contrib/kubernetes). Elsewhere a timer does.`,
		Example: `  veneer prune --dry-run
  veneer prune
  veneer prune --cache --format json
  veneer prune --every 24h`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if req.KeepSteps, err = parseSize(keepSteps); err != nil && keepSteps != "0" {
				return usagef("--keep-steps %s: %w", keepSteps, err)
			}
			if req.KeepSteps == 0 {
				req.KeepSteps = -1 // None; a request without a number means the default.
			}
			if req.KeepFor <= 0 {
				return usagef("--keep-for %s: want a time such as 48h; --all keeps nothing", req.KeepFor)
			}
			if cmd.Flags().Changed("every") && every <= 0 {
				return usagef("--every %s: want a time such as 24h", every)
			}
			return repeat(cmd.Context(), every, func(ctx context.Context) error { return a.prune(ctx, req, format.value) })
		},
	}
	bindFormat(cmd, &format)
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "say what would be removed, and remove nothing")
	cmd.Flags().BoolVar(&req.Cache, "cache", false, "also forget indexes of layers, digests of source files and all steps of Dockerfiles, which later builds make anew")
	cmd.Flags().BoolVar(&req.All, "all", false, "forget all steps of Dockerfiles and their cache mounts")
	cmd.Flags().DurationVar(&req.KeepFor, "keep-for", veneer.DefaultKeepFor, "the `time` for which steps and cache mounts stay that are not used")
	cmd.Flags().Lookup("keep-for").DefValue = "1440h, which is 60 days"
	cmd.Flags().DurationVar(&every, "every", 0, "do it again after this `time`, until a signal or an error ends it")
	cmd.Flags().StringVar(&keepSteps, "keep-steps", keepSteps, "the `size` that steps of Dockerfiles and their cache mounts may have")
	return cmd
}

func (a *app) prune(ctx context.Context, req veneer.PruneRequest, format string) error {
	return a.withEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		p, err := veneer.Prune(ctx, e, req)
		if format == "json" {
			return errors.Join(err, printJSON(a.std.out, p))
		}
		return errors.Join(err, a.printPruned(p))
	})
}

// repeat does something once, or, if every is not zero, again and again with that time
// between, until it fails or ctx ends: then the error is the cause of that.
func repeat(ctx context.Context, every time.Duration, do func(context.Context) error) error {
	for {
		if err := do(ctx); err != nil || every == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(every):
		}
	}
}

func (a *app) printPruned(p *veneer.Pruned) error {
	for _, kind := range []struct {
		what  string
		names []string
	}{{"process", p.Processes}, {"resumed container", p.Resumed}, {"mount", p.Mounts}, {"lease", p.Leases}, {"snapshot", p.Snapshots}, {"ingest", p.Ingests}, {"temporary", p.Temporary}} {
		for _, name := range kind.names {
			if err := printLine(a.std.out, "%s %s", kind.what, printable(name)); err != nil {
				return err
			}
		}
	}
	line := "removed "
	if p.DryRun {
		line = "would remove "
	}
	line += fmt.Sprintf("%s, %s", countText(p.Blobs, "blob", "blobs"), bytesText(p.BlobBytes))
	if n := len(p.Ingests); n > 0 {
		line += fmt.Sprintf("; %s, %s", countText(int64(n), "half-written blob", "half-written blobs"), bytesText(p.IngestBytes))
	}
	if n := len(p.Snapshots); n > 0 {
		line += fmt.Sprintf("; %s, %s", countText(int64(n), "snapshot", "snapshots"), bytesText(p.SnapshotBytes))
	}
	if p.Cached > 0 {
		line += fmt.Sprintf("; %s, %s", countText(int64(p.Cached), "cache entry", "cache entries"), bytesText(p.CacheBytes))
	}
	if k := p.Kept; k.Steps+k.Mounts > 0 {
		line += fmt.Sprintf("; %s, %s; %s, %s", countText(int64(k.Steps), "step", "steps"), bytesText(k.StepBytes),
			countText(int64(k.Mounts), "cache mount", "cache mounts"), bytesText(k.MountBytes))
	}
	return printLine(a.std.out, "%s", line)
}
