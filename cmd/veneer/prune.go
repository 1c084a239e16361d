package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

func (a *app) pruneCommand() *cobra.Command {
	var req veneer.PruneRequest
	format := newFormat()
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
			return a.withEngine(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
				p, err := veneer.Prune(ctx, e, req)
				if format.value == "json" {
					return errors.Join(err, printJSON(a.std.out, p))
				}
				return errors.Join(err, a.printPruned(p))
			})
		},
	}
	bindFormat(cmd, &format)
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "say what would be removed, and remove nothing")
	cmd.Flags().BoolVar(&req.Cache, "cache", false, "also forget indexes of layers and digests of source files, which later builds make anew")
	return cmd
}

func (a *app) printPruned(p *veneer.Pruned) error {
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
