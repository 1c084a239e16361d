package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/veneer-build/veneer"
)

const saveLong = `Write images to an archive, on standard output or to --output: an OCI layout in a
tar, which docker load, nerdctl load and skopeo read as well. Of a multi-platform
image those platforms are written that are here as a whole. The same images give
the same bytes.

With --since the archive lacks the layers of images that its reader has, and says
which these are. Just veneer load takes it in, and it checks that they are there.
The layers that are left out need not be here either.

With --delta the layers that the reader lacks are left out, too, and replaced by
what makes them of the files of the --since images: of a file that changed, what
changed in it. That takes the reader those files, and the time to make the layers
again; the result is the same image with the same digest. A layer of which this is
not smaller is written as it is. The --since images must be here: unpacked, or with
their layers. veneer load takes it in; its form is that of oci-delta. Of
multi-platform images it is for one platform, this host's unless --platform says
otherwise.

With --dry-run nothing is written. With --delta each layer is listed then with
what it costs, and with the costliest files.`

// saveOptions say what is saved and how.
type saveOptions struct {
	req           veneer.SaveRequest
	output        string
	delta, dryRun bool
	format        enumValue
}

func (a *app) saveCommand() *cobra.Command {
	o := &saveOptions{format: newFormat()}
	cmd := &cobra.Command{
		Use:   "save IMAGE...",
		Short: "Write images to an archive",
		Long:  saveLong,
		Example: `  veneer save app:2 -o app.tar
  veneer save app:2 --since app:1 -o delta.tar
  veneer save app:2 --since app:1 --delta -o delta.tar
  veneer save app:2 --since app:1 --delta --dry-run
  veneer save app:2 --since app:1 | ssh edge veneer load -`,
		Args: refArgs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.req.Images = args
			if err := o.check(cmd.Flags().Changed("output")); err != nil {
				return err
			}
			if o.delta {
				return a.saveDelta(cmd.Context(), o, veneer.SaveDeltaRequest{Image: args[0], Since: o.req.Since, Platform: o.req.Platform, Files: o.dryRun})
			}
			return a.save(cmd.Context(), o)
		},
	}
	bindFormat(cmd, &o.format)
	fs := cmd.Flags()
	fs.StringVarP(&o.output, "output", "o", "-", "`file` to write, \"-\" for standard output")
	fs.StringArrayVar(&o.req.Since, "since", nil, "leave out the layers of an `image` that the reader has (repeatable)")
	fs.BoolVar(&o.delta, "delta", false, "of layers that the reader lacks, write what differs from the files of --since")
	fs.BoolVar(&o.dryRun, "dry-run", false, "say what would be written, and what it costs, and write nothing")
	fs.StringVar(&o.req.Platform, "platform", "", "write just this platform of a multi-platform image (default all that are here; with --delta this host's)")
	return cmd
}

// check returns an error for flags that do not go together.
func (o *saveOptions) check(output bool) error {
	for _, ref := range o.req.Since {
		if err := checkRef(ref); err != nil {
			return err
		}
	}
	switch {
	case o.delta && len(o.req.Since) == 0:
		return usagef("--delta needs an image that the reader has: use --since IMAGE")
	case o.delta && len(o.req.Images) > 1:
		return usagef("--delta writes one image at a time: use it once for each of the %d", len(o.req.Images))
	case o.dryRun && output:
		return usagef("--dry-run writes nothing: leave --output out")
	case o.format.value == "json" && !o.dryRun && o.output == "-":
		return usagef("standard output is the archive: use --format json with --output FILE or --dry-run")
	}
	return checkPlatform(o.req.Platform)
}

// savedView is how the result of a save is shown.
type savedView struct {
	result   any
	text     string
	warnings []veneer.Notice
}

// save writes images, or says with --dry-run what it would write.
func (a *app) save(ctx context.Context, o *saveOptions) error {
	return a.writeTo(ctx, o, func(ctx context.Context, e *veneer.Engine, w io.Writer, p veneer.Progress) (*savedView, error) {
		o.req.Progress = p
		saved, err := veneer.Save(ctx, e, w, o.req)
		if err != nil {
			return nil, err
		}
		return &savedView{result: saved, text: savedText(saved, o.req.Since), warnings: saved.Warnings}, nil
	})
}

// saveFunc writes an archive to w; with a w that is nil it only says what it would.
type saveFunc func(ctx context.Context, e *veneer.Engine, w io.Writer, p veneer.Progress) (*savedView, error)

// writeTo has an archive written to where the options say.
func (a *app) writeTo(ctx context.Context, o *saveOptions, write saveFunc) error {
	commit := func() error { return nil }
	if o.dryRun {
		return a.writeAnd(ctx, o, nil, write, commit)
	}
	if o.output == "-" {
		if f, ok := a.outputFile(); ok && term.IsTerminal(int(f.Fd())) {
			return usagef("standard output is a terminal: use --output FILE, or a pipe")
		}
		return a.writeAnd(ctx, o, a.std.out, write, commit)
	}
	f, err := openPending(ctx, o.output)
	if err != nil {
		return err
	}
	defer f.discard()
	return a.writeAnd(ctx, o, f, write, func() error { return f.commit(nil) })
}

// writeAnd writes the archive and says what is in it, when commit has made it last.
func (a *app) writeAnd(ctx context.Context, o *saveOptions, w io.Writer, write saveFunc, commit func() error) error {
	return a.withReading(ctx, func(ctx context.Context, e *veneer.Engine) error {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		saved, err := write(ctx, e, w, d)
		if err != nil {
			return err
		}
		if err := commit(); err != nil {
			return err
		}
		d.Close()
		adviseNotices(saved.warnings)
		if o.format.value == "json" {
			return printJSON(a.std.out, saved.result) // The warnings are in it.
		}
		a.notifyAll("warning: ", saved.warnings)
		switch {
		case o.dryRun:
			return printLine(a.std.out, "%s", saved.text)
		case !a.quiet && !a.jsonMessages():
			_, _ = fmt.Fprintln(a.stderr, saved.text)
		}
		return nil
	})
}

// savedText tells people what an archive holds.
func savedText(s *veneer.Saved, since []string) string {
	var names []string
	for _, img := range s.Images {
		if img.Name == "" {
			img.Name = img.Digest.String()
		}
		names = append(names, img.Name)
	}
	text := fmt.Sprintf("%s: %s, %s", printable(strings.Join(names, ", ")), countText(int64(s.Blobs), "blob", "blobs"), bytesText(s.Bytes))
	if s.Left > 0 {
		text += fmt.Sprintf("; left out %s, %s, of %s", countText(int64(s.Left), "layer", "layers"), bytesText(s.LeftBytes), printable(strings.Join(since, ", ")))
	}
	return text
}
