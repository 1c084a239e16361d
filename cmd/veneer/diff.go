package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// errDiffers ends veneer diff --exit-code: something differs.
var errDiffers = &exitCodeError{code: exitError}

func (a *app) diffCommand() *cobra.Command {
	var base baseFlags
	var two compareFlags
	format, exitCode := newFormat(), false
	cmd := &cobra.Command{
		Use:   "diff --from IMAGE [flags] | diff A B",
		Short: "Show what a build would change, or what two images differ in",
		Long: `Show what a build with the same flags would change, and what that costs; or with A
and B, what a layer would hold that makes A's files B's. Nothing is written.

A and B are each an image, container:NAME (as veneer commit takes it; a running
one is paused meanwhile), oci:DIR or archive:FILE (an OCI image layout, an image
archive, with :NAME after it where it holds several images), or dir:PATH; of a
path that exists and has a slash in it, dir: may be left out. Times count only
with --times.

A line for each path says what happens to it, A for added, M for modified and D
for deleted, the bytes that the layer stores for it, and the reason. Where files
of the base disappear, it ends with how many, and their bytes: a deleted
directory is one line, whatever was in it. The summary has the size of the layer, and the bytes that are stored again for metadata's
sake alone: a layer cannot hold a changed mode or owner without the file.

` + targetHelp + `

With --exit-code the exit code is 0 if nothing differs, 1 if something does, and
2 for every error.`,
		Example: `  veneer diff --from app:1 --sync ./app:/app
  veneer diff app:1 app:2
  veneer diff container:web ./app-rootfs/
  veneer diff --exit-code --progress quiet --from app:1 --sync ./app:/app >/dev/null`,
		Args:        two.args(&base),
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if len(args) > 0 {
				err = a.compare(cmd.Context(), two.request(args, &base), format.value, exitCode)
			} else {
				err = a.diffBuild(cmd.Context(), &base, format.value, exitCode)
			}
			if exitCode && err != nil && !errors.Is(err, errDiffers) {
				return &exitCodeError{code: exitUsage, err: err}
			}
			return err
		},
	}
	base.bind(cmd)
	two.bind(cmd)
	bindFormat(cmd, &format)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with 1 if something differs, 2 on an error")
	return cmd
}

// diffBuild shows what a build would change.
func (a *app) diffBuild(ctx context.Context, base *baseFlags, format string, exitCode bool) error {
	build := veneer.BuildRequest{}
	if err := base.request(&build); err != nil {
		return err
	}
	if len(build.Platforms) > 0 {
		return usagef("--platform %s: diff shows one platform at a time", base.platform)
	}
	req := veneer.DiffRequest{
		Base: build.Base, TargetOptions: build.TargetOptions, ReadOptions: build.ReadOptions, Reports: veneer.Reports{Log: a.log},
	}
	req.Stdin = a.stdin(ctx)
	do := func(ctx context.Context, e *veneer.Engine, p veneer.Progress) (*veneer.DiffResult, error) {
		req.Progress = p
		return veneer.Diff(ctx, e, req)
	}
	err := a.showDiff(ctx, a.withReading, format, exitCode, do)
	if errors.Is(err, veneer.ErrReading) {
		// --reader view wants a snapshot, and the base has none yet.
		return a.showDiff(ctx, a.withEngine, format, exitCode, do)
	}
	return err
}

// withEngine is [app.withEngine] or [app.withReading].
type withEngine func(context.Context, func(context.Context, *veneer.Engine) error) error

// showDiff runs one of the library's comparisons and prints the result.
func (a *app) showDiff(ctx context.Context, open withEngine, format string, exitCode bool, do func(context.Context, *veneer.Engine, veneer.Progress) (*veneer.DiffResult, error)) error {
	var res *veneer.DiffResult
	err := open(ctx, func(ctx context.Context, e *veneer.Engine) (err error) {
		d := a.newDisplay()
		defer d.Close()
		res, err = do(ctx, e, d)
		return err
	})
	if err != nil {
		return err
	}
	adviseNotices(res.Warnings)
	if format == "json" {
		err = printJSON(a.std.out, res)
	} else {
		a.notifyAll("warning: ", res.Warnings)
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
		if err := printLine(w, "%s %s  %d  %s%s", c.Kind, quotePath(c.Path), c.Bytes, c.Reason, removedText(c.RemovedFiles, c.RemovedBytes)); err != nil {
			return err
		}
	}
	if len(res.Changes) == 0 {
		return printLine(w, "nothing differs from %s", printable(res.Base))
	}
	return printLine(w, "\n%s\nlayer: about %s, %s uncompressed", diffText(res), bytesText(res.Layer), bytesText(res.UncompressedLayer))
}

// removedText is " (3000 files, 1.2 MB)" for the files that a change removes. It is
// empty if there are none.
func removedText(files, bytes int64) string {
	if files == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s, %s)", countText(files, "file", "files"), bytesText(bytes))
}

// diffText is changesText with the bytes of each kind.
func diffText(res *veneer.DiffResult) string {
	s := res.Summary
	text := fmt.Sprintf("added %d (%s), modified %d (%s), deleted %d%s",
		s.Added.Count, bytesText(s.Added.Bytes), s.Modified.Count, bytesText(s.Modified.Bytes), s.Deleted.Count,
		removedText(res.Removed.Count, res.Removed.Bytes))
	if m := s.MetadataOnly; m.Count > 0 {
		text += fmt.Sprintf("\nof these, for metadata alone: %s, %s", countText(m.Count, "file", "files"), bytesText(m.Bytes))
	}
	return text
}
