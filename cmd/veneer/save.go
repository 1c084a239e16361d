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

func (a *app) saveCommand() *cobra.Command {
	var req veneer.SaveRequest
	output := ""
	cmd := &cobra.Command{
		Use:   "save IMAGE...",
		Short: "Write images to an archive",
		Long: `Write images to an archive, on standard output or to --output: an OCI layout in a
tar, which docker load, nerdctl load and skopeo read as well. Of a multi-platform
image those platforms are written that are here as a whole. The same images give
the same bytes.

With --since the archive is a delta: it lacks the layers of images that its
reader has, and says which these are. Just veneer load takes it in, and it checks
that they are there. The layers that are left out need not be here either.`,
		Example: `  veneer save app:2 -o app.tar
  veneer save app:2 --since app:1 -o delta.tar
  veneer save app:2 --since app:1 | ssh edge veneer load -`,
		Args: refArgs(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Images = args
			for _, ref := range req.Since {
				if err := checkRef(ref); err != nil {
					return err
				}
			}
			if err := checkPlatform(req.Platform); err != nil {
				return err
			}
			return a.save(cmd.Context(), output, req)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&output, "output", "o", "-", "`file` to write, \"-\" for standard output")
	fs.StringArrayVar(&req.Since, "since", nil, "leave out the layers of an `image` that the reader has (repeatable)")
	fs.StringVar(&req.Platform, "platform", "", "write just this platform of a multi-platform image (default all that are here)")
	return cmd
}

func (a *app) save(ctx context.Context, output string, req veneer.SaveRequest) error {
	w := a.std.out
	if output == "-" {
		if f, ok := a.outputFile(); ok && term.IsTerminal(int(f.Fd())) {
			return usagef("standard output is a terminal: use --output FILE, or a pipe")
		}
		return a.saveTo(ctx, w, req, func() error { return nil })
	}
	f, err := openPending(ctx, output)
	if err != nil {
		return err
	}
	defer f.discard()
	return a.saveTo(ctx, f, req, func() error { return f.commit(nil) })
}

// saveTo writes the archive and says what is in it, when commit has made it last.
func (a *app) saveTo(ctx context.Context, w io.Writer, req veneer.SaveRequest, commit func() error) error {
	return a.withReading(ctx, func(ctx context.Context, e *veneer.Engine) error {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		req.Progress = d
		saved, err := veneer.Save(ctx, e, w, req)
		if err != nil {
			return err
		}
		if err := commit(); err != nil {
			return err
		}
		d.Close()
		adviseNotices(saved.Warnings)
		a.notifyAll("warning: ", saved.Warnings)
		if !a.quiet && !a.jsonMessages() {
			_, _ = fmt.Fprintln(a.stderr, savedText(saved, req.Since))
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
