package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// imageRow is an image as veneer images prints it.
type imageRow struct {
	Name       string             `json:"name"`
	Target     ocispec.Descriptor `json:"target"`
	Platforms  []string           `json:"platforms"`
	Size       int64              `json:"size"`
	CreatedAt  time.Time          `json:"created_at"`
	UpdatedAt  time.Time          `json:"updated_at"`
	Labels     map[string]string  `json:"labels,omitempty"`
	Pinned     bool               `json:"pinned,omitempty"`
	Incomplete bool               `json:"incomplete,omitempty"`
	Error      string             `json:"error,omitempty"`
}

const imagesHelp = `List the images of the namespace: name, digest, the platforms that are here, the
size of what is here, and when the name was last set. With NAME, only those of
that name, or of that name and TAG. In a pattern * stands for any letters and ? for
one; neither stands for a slash.

--filter leaves out what does not fit. Different keys must all hold, and of
reference one:

  reference=PATTERN     as NAME
  label=KEY[=VALUE]     of the image's config
  before=IMAGE, since=IMAGE
                        created before or after another image
  dangling=true|false   whether the name has no tag
  pinned=true|false     whether the name is pinned (veneer tag --pin)

--format takes docker's templates. The fields are .Repository, .Tag, .ID, .Digest,
.Size, .CreatedAt, .CreatedSince, and .Name, .UpdatedAt, .Platforms and .Labels.`

func (a *app) imagesCommand() *cobra.Command {
	format := newRowFormat("text", imageWords{})
	var filters []string
	quiet, full := false, false
	cmd := &cobra.Command{
		Use:     "images [NAME[:TAG]]",
		Aliases: []string{"ls"},
		Short:   "List images",
		Long:    imagesHelp,
		Example: `  veneer images
  veneer images debian
  veneer images --filter label=org.example.team=web --format '{{.Name}} {{.Size}}'
  veneer images --format 'table {{.Repository}}\t{{.Tag}}\t{{.CreatedSince}}'
  veneer images --format json`,
		Args: atMostOneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := parseFilters(filters, args)
			if err != nil {
				return err
			}
			return a.withReading(cmd.Context(), func(ctx context.Context, e *veneer.Engine) error {
				list, err := filter.list(ctx, e)
				if err != nil {
					return err
				}
				return a.printImages(list, &format, quiet, full)
			})
		},
	}
	bindRowFormat(cmd, &format)
	fs := cmd.Flags()
	fs.StringArrayVarP(&filters, "filter", "f", nil, "list only images that fit: `KEY=VALUE` (repeatable)")
	fs.BoolVarP(&quiet, "quiet", "q", false, "print digests only")
	fs.BoolVar(&full, "no-trunc", false, "print digests whole")
	exclusive(cmd, "quiet", "format")
	return cmd
}

func (a *app) printImages(list []veneer.Listed, format *rowFormat, quiet, full bool) error {
	rows := make([]imageRow, 0, len(list))
	for i := range list {
		row := imageRowOf(&list[i])
		if row.Error != "" {
			a.notify("warning: image " + row.Name + ": " + row.Error)
		}
		rows = append(rows, row)
	}
	switch {
	case quiet:
		for _, r := range rows {
			if err := printLine(a.std.out, "%s", r.Target.Digest); err != nil {
				return err
			}
		}
		return nil
	case format.json():
		return printJSON(a.std.out, rows)
	case format.rows != nil:
		var words []any
		for i, r := range rows {
			words = append(words, wordsOfImage(&r, list[i].Created, list[i].Labels, full, time.Now()))
		}
		return format.print(a.std.out, imageHeading, words...)
	}
	t := newTable(a, "NAME", "DIGEST", "PLATFORM", "SIZE", "UPDATED")
	for _, r := range rows {
		size, digest := bytesText(r.Size), r.Target.Digest.String()
		if r.Incomplete {
			size += " (incomplete)"
		}
		if !full {
			digest = shortDigest(digest)
		}
		t.row(r.Name, digest, strings.Join(r.Platforms, ","), size, timeText(r.UpdatedAt))
	}
	return t.flush()
}

func imageRowOf(l *veneer.Listed) imageRow {
	row := imageRow{
		Name: l.Record.Name, Target: l.Record.Target, Size: l.Size, Labels: l.Record.Labels,
		CreatedAt: l.Record.CreatedAt, UpdatedAt: l.Record.UpdatedAt, Incomplete: l.Incomplete, Pinned: veneer.Pinned(l.Record),
		Platforms: []string{},
	}
	for _, p := range l.Platforms {
		row.Platforms = append(row.Platforms, platforms.FormatAll(p))
	}
	if l.Err != nil {
		row.Error = advised(l.Err)
	}
	return row
}

// table aligns columns.
type table struct{ w *tabwriter.Writer }

func newTable(a *app, columns ...string) *table {
	t := &table{tabwriter.NewWriter(a.std.out, 0, 8, 2, ' ', 0)}
	t.row(columns...)
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		if c == "" {
			c = "-"
		}
		cells[i] = printable(c)
	}
	// An error stays with the tabwriter until flush.
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) flush() error {
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// shortDigest shortens a digest to what people read, and what commands accept.
func shortDigest(d string) string {
	algorithm, hex, _ := strings.Cut(d, ":")
	return algorithm + ":" + hex[:min(len(hex), 12)]
}

// timeText formats a time in UTC, so that the output is the same everywhere. It
// returns "" for the zero time.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
