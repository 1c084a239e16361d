package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// errDiffers ends veneer diff --exit-code: something differs.
var errDiffers = &exitCodeError{code: exitError}

func (a *app) diffCommand() *cobra.Command {
	var base baseFlags
	format, exitCode := newFormat(), false
	cmd := &cobra.Command{
		Use:   "diff --from IMAGE [flags]",
		Short: "Show what a build would change, and what that costs",
		Long: `Show what a build with the same flags would change, and what that costs. Nothing
is written.

A line for each path says what happens to it, A for added, M for modified and D
for deleted, the bytes that the layer stores for it, and the reason. The summary
has the size of the layer, and the bytes that are stored again for metadata's
sake alone: a layer cannot hold a changed mode or owner without the file.

` + targetHelp + `

With --exit-code the exit code is 0 if nothing differs, 1 if something does, and
2 for every error.`,
		Example: `  veneer diff --from app:1 --sync ./app:/app
  veneer diff --exit-code --progress quiet --from app:1 --sync ./app:/app >/dev/null`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := veneer.Request{Log: a.log}
			if err := base.request(&req); err != nil {
				return err
			}
			if len(req.Platforms) > 0 {
				return usagef("--platform %s: diff shows one platform at a time", base.platform)
			}
			err := a.diff(cmd.Context(), req, format.value, exitCode)
			if exitCode && err != nil && !errors.Is(err, errDiffers) {
				return &exitCodeError{code: exitUsage, err: err}
			}
			return err
		},
	}
	base.bind(cmd)
	bindFormat(cmd, &format)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with 1 if something differs, 2 on an error")
	return cmd
}

func (a *app) diff(ctx context.Context, req veneer.Request, format string, exitCode bool) error {
	var res *veneer.DiffResult
	req.Stdin = a.stdin(ctx)
	err := a.withEngine(ctx, func(ctx context.Context, e *engine.Engine) (err error) {
		d := a.newDisplay()
		defer d.Close()
		req.Progress = d
		res, err = veneer.Diff(ctx, e, req)
		return err
	})
	if err != nil {
		return err
	}
	if format == "json" {
		err = printJSON(a.std.out, res)
	} else {
		for _, w := range res.Warnings {
			a.notify("warning: " + w)
		}
		err = printDiff(a.std.out, res)
	}
	if err == nil && exitCode && len(res.Changes) > 0 {
		return errDiffers
	}
	return err
}

// printDiff writes a line for each change, then the summary.
func printDiff(w io.Writer, res *veneer.DiffResult) error {
	for _, c := range res.Changes {
		if err := printLine(w, "%s %s  %d  %s", c.Kind, quotePath(c.Path), c.Bytes, c.Reason); err != nil {
			return err
		}
	}
	if len(res.Changes) == 0 {
		return printLine(w, "nothing differs from %s", printable(res.Base))
	}
	return printLine(w, "\n%s\nlayer: about %s, %s uncompressed", diffText(res.Summary), bytesText(res.Layer), bytesText(res.UncompressedLayer))
}

// diffText is changesText with the bytes of each kind.
func diffText(s differ.Summary) string {
	text := fmt.Sprintf("added %d (%s), modified %d (%s), deleted %d",
		s.Added.Count, bytesText(s.Added.Bytes), s.Modified.Count, bytesText(s.Modified.Bytes), s.Deleted.Count)
	if m := s.MetadataOnly; m.Count > 0 {
		text += fmt.Sprintf("\nof these, for metadata alone: %s, %s", countText(m.Count, "file", "files"), bytesText(m.Bytes))
	}
	return text
}
