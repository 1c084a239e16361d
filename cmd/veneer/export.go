package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/veneer-build/veneer"
)

const exportLong = `Write the files of an image as one tar, on standard output or to --output: what a
container of the image starts with. What upper layers delete is not there; owners,
modes, hard links, devices, extended attributes and times (in whole seconds) are.
The same image gives the same bytes. veneer import makes an image of such a tar.

Where --output is a directory, or ends in a slash, the files are put there instead,
which only root can do. It must be empty, or not be there. Neither a file nor a
directory is ever half there: it gets its name in the end.

` + filesHelp + ` Of an archive all layers are stored
meanwhile, of a registry's image those that are not here.`

// exportOptions say where the files go.
type exportOptions struct {
	req      veneer.ExportRequest
	output   string
	format   enumValue
	registry registryFlags
}

func (a *app) exportCommand() *cobra.Command {
	o := &exportOptions{format: newFormat()}
	cmd := &cobra.Command{
		Use:   "export IMAGE",
		Short: "Write an image's files as a tar, or to a directory",
		Long:  exportLong,
		Example: `  veneer export app:2 -o rootfs.tar
  veneer export app:2 -o /srv/app/
  veneer export app:2 | tar -x -C /mnt --xattrs --xattrs-include='*' --numeric-owner
  veneer export docker://registry.example.org/team/app:2 -o rootfs.tar
  veneer export app:2 | veneer import - app:flat`,
		Args:        anyImageArg,
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.req.Image = args[0]
			if err := o.check(); err != nil {
				return err
			}
			return a.export(cmd.Context(), o)
		},
	}
	bindFormat(cmd, &o.format)
	fs := cmd.Flags()
	fs.StringVarP(&o.output, "output", "o", "-", "`file` to write, a directory to fill, or \"-\" for standard output")
	fs.BoolVar(&o.req.NoCache, "no-cache", false, "neither use nor keep indexes of layers")
	bindPlatform(cmd, &o.req.Platform)
	o.registry.bind(cmd)
	return cmd
}

func (o *exportOptions) check() error {
	if packed := []string{".gz", ".tgz", ".zst", ".xz", ".bz2"}; slices.Contains(packed, filepath.Ext(o.output)) {
		return usagef("--output %s: the tar is not compressed: use a name without %s, or a pipe as in veneer export %s | gzip", o.output, filepath.Ext(o.output), shellWord(o.req.Image))
	}
	switch {
	case o.output == "":
		return usagef("--output is empty")
	case o.format.value == "json" && o.output == "-":
		return usagef("standard output is the tar: use --format json with --output FILE")
	}
	return checkPlatform(o.req.Platform)
}

// toDir reports whether the files go into a directory.
func (o *exportOptions) toDir() bool {
	info, err := os.Stat(o.output)
	return strings.HasSuffix(o.output, "/") || err == nil && info.IsDir()
}

// exportFunc does the work, of which commit is the end.
type exportFunc func(ctx context.Context, e *veneer.Engine, req veneer.ExportRequest) (*veneer.Exported, error)

func (a *app) export(ctx context.Context, o *exportOptions) error {
	commit := func() error { return nil }
	switch {
	case o.toDir():
		return a.exportBy(ctx, o, func(ctx context.Context, e *veneer.Engine, req veneer.ExportRequest) (*veneer.Exported, error) {
			return veneer.ExportDir(ctx, e, o.output, req)
		}, commit)
	case o.output == "-":
		if f, ok := a.outputFile(); ok && term.IsTerminal(int(f.Fd())) {
			return usagef("standard output is a terminal: use --output FILE, or a pipe")
		}
		return a.exportBy(ctx, o, func(ctx context.Context, e *veneer.Engine, req veneer.ExportRequest) (*veneer.Exported, error) {
			return veneer.Export(ctx, e, a.std.out, req)
		}, commit)
	}
	f, err := openPending(ctx, o.output)
	if err != nil {
		return err
	}
	defer f.discard()
	return a.exportBy(ctx, o, func(ctx context.Context, e *veneer.Engine, req veneer.ExportRequest) (*veneer.Exported, error) {
		return veneer.Export(ctx, e, f, req)
	}, func() error { return f.commit(nil) })
}

// exportBy opens the engine, has the work done, and says what was written.
func (a *app) exportBy(ctx context.Context, o *exportOptions, do exportFunc, commit func() error) error {
	var done *veneer.Exported
	work := func(ctx context.Context, e *veneer.Engine) (err error) {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		o.registry.Notify = a.notify
		o.req.Registry, o.req.Reports = o.registry.RegistryOptions, veneer.Reports{Progress: d, Log: a.log}
		done, err = do(ctx, e, o.req)
		return err
	}
	open := a.withReading
	if outside(o.req.Image) {
		open = withTemporaryEngine
	}
	err := open(ctx, work)
	if errors.Is(err, veneer.ErrReading) {
		err = a.withEngine(ctx, work) // Of its layers not all are stored, and its snapshot has to be mounted.
	}
	if err == nil {
		err = ctx.Err() // The file that was there stays.
	}
	if err == nil {
		err = commit()
	}
	if err != nil {
		return err
	}
	adviseNotices(done.Warnings)
	if o.format.value == "json" {
		return printJSON(a.std.out, done) // The warnings are in it.
	}
	a.notifyAll("warning: ", done.Warnings)
	if !a.quiet && !a.jsonMessages() {
		_, _ = fmt.Fprintf(a.stderr, "%s: %s, %s\n", printable(done.Image), countText(done.Files, "entry", "entries"), bytesText(done.Bytes))
	}
	return nil
}
