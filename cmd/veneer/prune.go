package main

import (
	"context"
	"errors"
	"fmt"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// pruned is what veneer prune removed.
type pruned struct {
	// DryRun: nothing was removed. The rest says what would be.
	DryRun bool `json:"dry_run,omitempty"`
	// Resumed are containers that a killed commit had left paused.
	Resumed []string `json:"resumed"`
	lease.Swept
	// Blobs are those that garbage collection removed, and BlobBytes their size.
	Blobs     int64 `json:"blobs"`
	BlobBytes int64 `json:"blob_bytes"`
	// Cached counts removed cache entries: indexes of layers, and digests of source
	// files.
	Cached     int   `json:"cached"`
	CacheBytes int64 `json:"cache_bytes"`
	// Temporary are directories that killed processes left in $TMPDIR.
	Temporary []string `json:"temporary"`
}

func (a *app) pruneCommand() *cobra.Command {
	format, cache, dryRun := newFormat(), false, false
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove what killed builds left, and what nothing refers to",
		Long: `Remove what killed builds left (leases, snapshots, half-written blobs, files in
the caches and in $TMPDIR), let containers go on that a killed commit left paused, then let the engine collect what no
image refers to. What a running build holds stays. Images that have a name stay; veneer rmi removes those.

With --dry-run nothing is removed: what would be is listed and counted, as far as
it can be known beforehand.`,
		Example: `  veneer prune --dry-run
  veneer prune
  veneer prune --cache --format json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withEngine(cmd.Context(), func(ctx context.Context, e *engine.Engine) error {
				do := prune
				if dryRun {
					do = wouldPrune
				}
				p, err := do(ctx, e, cache)
				if format.value == "json" {
					return errors.Join(err, printJSON(a.std.out, p))
				}
				return errors.Join(err, a.printPruned(p))
			})
		},
	}
	bindFormat(cmd, &format)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be removed, and remove nothing")
	cmd.Flags().BoolVar(&cache, "cache", false, "also forget indexes of layers and digests of source files, which later builds make anew")
	return cmd
}

// prune goes on after an error. It returns what it removed and all errors.
func prune(ctx context.Context, e *engine.Engine, cache bool) (pruned, error) {
	var p pruned
	before, beforeBytes, err := countBlobs(ctx, e)
	if err != nil {
		return p, err
	}
	var errs []error
	p.Resumed, err = veneer.ResumeContainers(ctx, e)
	errs = append(errs, err)
	p.Swept, err = lease.Sweep(ctx, e.Client, e.Snapshotter)
	errs = append(errs, err, e.CollectGarbage(ctx))
	after, afterBytes, err := countBlobs(ctx, e)
	errs = append(errs, err)
	if err == nil {
		// A build that runs at the same time may have added blobs.
		p.Blobs, p.BlobBytes = max(0, before-after), max(0, beforeBytes-afterBytes)
	}
	forget := veneer.Cache(e).Sweep
	if cache {
		forget = veneer.Cache(e).Prune
	}
	c, err := forget()
	p.Cached, p.CacheBytes = c.Files, c.Bytes
	var terr error
	p.Temporary, terr = snapshot.SweepTemp()
	errs = append(errs, err, terr)
	p.fillLists()
	return p, errors.Join(errs...)
}

// wouldPrune finds what prune would remove, and removes nothing.
func wouldPrune(ctx context.Context, e *engine.Engine, cache bool) (pruned, error) {
	p := pruned{DryRun: true}
	var errs []error
	left, err := lease.LeftPaused(ctx, e.Client.LeasesService())
	for _, l := range left {
		p.Resumed = append(p.Resumed, l.Container)
	}
	errs = append(errs, err)
	p.Swept, err = lease.Left(ctx, e.Client, e.Snapshotter)
	errs = append(errs, err)
	garbage, err := content.FindGarbage(ctx, e.Client)
	p.Blobs, p.BlobBytes = garbage.Blobs, garbage.Bytes
	errs = append(errs, err)
	c, err := veneer.Cache(e).Left(cache)
	p.Cached, p.CacheBytes = c.Files, c.Bytes
	errs = append(errs, err)
	p.Temporary, err = snapshot.LeftTemp()
	p.fillLists()
	return p, errors.Join(append(errs, err)...)
}

// fillLists replaces nil lists by empty ones, which are [] and not null in JSON.
func (p *pruned) fillLists() {
	for _, list := range []*[]string{&p.Resumed, &p.Leases, &p.Snapshots, &p.Ingests, &p.Temporary} {
		if *list == nil {
			*list = []string{}
		}
	}
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

func (a *app) printPruned(p pruned) error {
	for _, kind := range []struct {
		what  string
		names []string
	}{{"resumed container", p.Resumed}, {"lease", p.Leases}, {"snapshot", p.Snapshots}, {"ingest", p.Ingests}, {"temporary", p.Temporary}} {
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
	return printLine(a.std.out, "%s", line)
}
