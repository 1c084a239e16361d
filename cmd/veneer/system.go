package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

func (a *app) systemCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "system",
		Short:   "Look at the engine as a whole",
		Long:    `Look at the engine as a whole.`,
		Example: "  veneer system df",
		Args:    a.knownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.dfCommand())
	return cmd
}

func (a *app) dfCommand() *cobra.Command {
	format, verbose := newFormat(), false
	cmd := &cobra.Command{
		Use:   "df",
		Short: "Show what takes space, and what frees it",
		Long: `Show what takes space: the images' blobs, each counted once; the unpacked layers of
the snapshotter; blobs that no image keeps; what Dockerfiles' builds keep for later
ones; and what is remembered of layers and source files. RECLAIMABLE is what the
command beside it frees. Steps may keep blobs that images have too.

--verbose lists the images as well: what each shares with others, and what is its
own and would go with it.`,
		Example: `  veneer system df
  veneer system df --verbose`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withReading(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
				u, err := veneer.DiskUsage(ctx, e)
				switch {
				case err != nil:
					return err
				case format.value == "json":
					return printJSON(a.std.out, u)
				}
				return a.printUsage(u, verbose)
			})
		},
	}
	bindFormat(cmd, &format)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "list the images, too")
	return cmd
}

func (a *app) printUsage(u *veneer.Usage, verbose bool) error {
	if verbose {
		t := newTable(a, "IMAGE", "SIZE", "SHARED", "UNIQUE")
		for _, img := range u.Images {
			t.row(strings.Join(img.Names, ", "), bytesText(img.Bytes), bytesText(img.Shared), bytesText(img.Unique))
		}
		if err := t.flush(); err != nil {
			return err
		}
		if err := printLine(a.std.out, ""); err != nil {
			return err
		}
	}
	var unique int64
	for _, img := range u.Images {
		unique += img.Unique
	}
	t := newTable(a, "TYPE", "COUNT", "SIZE", "RECLAIMABLE", "BY")
	t.row("images", strconv.Itoa(len(u.Images)), bytesText(u.ImageBytes), bytesText(unique), "veneer rmi, each its own")
	t.row("unpacked layers", strconv.Itoa(u.Snapshots), bytesText(u.SnapshotBytes), "", "")
	for _, r := range []struct {
		kind  string
		count int64
		bytes int64
		by    string
	}{
		{"blobs of no image", u.Unnamed, u.UnnamedBytes, "veneer prune"},
		{"steps", int64(u.Kept.Steps), u.Kept.StepBytes, "veneer prune --all"},
		{"cache mounts", int64(u.Kept.Mounts), u.Kept.MountBytes, "veneer prune --all"},
		{"indexes and digests", int64(u.Cached), u.CacheBytes, "veneer prune --cache"},
	} {
		t.row(r.kind, strconv.FormatInt(r.count, 10), bytesText(r.bytes), bytesText(r.bytes), r.by)
	}
	return t.flush()
}
