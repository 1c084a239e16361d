package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

func (a *app) historyCommand() *cobra.Command {
	format, platform := newRowFormat("text", stepWords{}), ""
	full, quiet := false, false
	var f registryFlags
	cmd := &cobra.Command{
		Use:   "history IMAGE",
		Short: "Show how an image was made",
		Long: `Show the steps that made an image, oldest first, with the size of each layer as it
is stored.

--format takes docker's templates. The fields are .ID (of the layer), .CreatedSince,
.CreatedAt, .CreatedBy, .Size, .Comment, and .DiffID.

` + imageHelp,
		Example: `  veneer history app:2
  veneer history --no-trunc --platform linux/arm64 debian:12
  veneer history docker://debian:12
  veneer history --format '{{.Size}} {{.CreatedBy}}' app:2`,
		Args: anyImageArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkPlatform(platform); err != nil {
				return err
			}
			return a.withImage(cmd.Context(), args[0], platform, &f, func(img *veneer.Image) error {
				return a.printHistory(veneer.History(img), &format, quiet, full)
			})
		},
	}
	bindRowFormat(cmd, &format)
	bindPlatform(cmd, &platform)
	f.bind(cmd)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print digests of layers only")
	cmd.Flags().BoolVar(&full, "no-trunc", false, "print digests and instructions whole")
	exclusive(cmd, "quiet", "format")
	return cmd
}

func (a *app) printHistory(steps []veneer.HistoryStep, format *rowFormat, quiet, full bool) error {
	switch {
	case quiet:
		for _, s := range steps {
			if s.Layer == nil {
				continue
			}
			if err := printLine(a.std.out, "%s", s.Layer.Digest); err != nil {
				return err
			}
		}
		return nil
	case format.json():
		return printJSON(a.std.out, steps)
	case format.rows != nil:
		var words []any
		for i := range steps {
			words = append(words, wordsOfStep(&steps[i], full, time.Now()))
		}
		return format.print(a.std.out, stepHeading, words...)
	}
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

// stepWords is a step as the templates of --format see it. All but DiffID are
// docker's.
type stepWords struct {
	ID           string
	CreatedSince string
	CreatedAt    string
	CreatedBy    string
	Size         string
	Comment      string
	DiffID       string
}

// stepHeading are the headings of columns, docker's where it has them.
var stepHeading = map[string]string{
	"ID": "LAYER", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
	"Comment": "COMMENT", "DiffID": "DIFF ID",
}

func wordsOfStep(s *veneer.HistoryStep, full bool, now time.Time) stepWords {
	w := stepWords{ID: noneText, CreatedBy: oneLine(s.CreatedBy), Comment: oneLine(s.Comment), Size: dockerSize(0), DiffID: s.DiffID.String()}
	var created time.Time
	if s.Created != nil {
		created = *s.Created
	}
	w.CreatedAt, w.CreatedSince = dockerTimes(created, now)
	if s.Layer != nil {
		w.ID, w.Size = s.Layer.Digest.String(), dockerSize(s.Layer.Size)
	}
	if !full {
		w.CreatedBy = cutText(w.CreatedBy)
		if s.Layer != nil {
			w.ID = shortID(w.ID)
		}
	}
	return w
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
