package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

func (a *app) historyCommand() *cobra.Command {
	format, platform, full := newFormat(), "", false
	cmd := &cobra.Command{
		Use:   "history IMAGE",
		Short: "Show how an image was made",
		Long:  `Show the steps that made an image, oldest first, with the size of each layer as it is stored.`,
		Example: `  veneer history app:2
  veneer history --no-trunc --platform linux/arm64 debian:12`,
		Args: refArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPlatform(platform); err != nil {
				return err
			}
			return a.withReading(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
				img, err := veneer.Inspect(ctx, e, args[0], platform)
				if err != nil {
					return err
				}
				steps := veneer.History(img)
				if format.value == "json" {
					return printJSON(a.std.out, steps)
				}
				return a.printHistory(steps, full)
			})
		},
	}
	bindFormat(cmd, &format)
	bindPlatform(cmd, &platform)
	cmd.Flags().BoolVar(&full, "no-trunc", false, "print digests and instructions whole")
	return cmd
}

func (a *app) printHistory(steps []veneer.HistoryStep, full bool) error {
	t := newTable(a, "LAYER", "SIZE", "CREATED", "BY", "COMMENT")
	for _, s := range steps {
		var layer, size, created string
		if s.Layer != nil {
			layer, size = s.Layer.Digest.String(), bytesText(s.Layer.Size)
			if s.Missing {
				size += " (not here)"
			}
		}
		if s.Created != nil {
			created = timeText(*s.Created)
		}
		by := s.CreatedBy
		if !full {
			by = cutText(by)
			if layer != "" {
				layer = shortDigest(layer)
			}
		}
		t.row(layer, size, created, by, s.Comment)
	}
	return t.flush()
}

// cutText shortens text to what fits in a column.
func cutText(s string) string {
	const limit = 60
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

func bindPlatform(cmd *cobra.Command, platform *string) {
	cmd.Flags().StringVar(platform, "platform", "", "platform of a multi-platform image, as in linux/arm64/v8 (default the host's)")
}
