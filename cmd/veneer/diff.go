package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// errDiffers ends veneer diff --exit-code: something differs.
var errDiffers = &exitCodeError{code: exitError}

const diffLong = `Show what a build with the same flags would change, and what that costs; or with A
and B, what a layer would hold that makes A's files B's. Nothing is written.

A and B are each an image, container:NAME (as veneer commit takes it; a running
one is paused meanwhile), registry:HOST/NAME or docker://NAME (an image in its
registry), oci:DIR or archive:FILE (an OCI image layout, an image archive, with
:NAME after it where it holds several images), or dir:PATH; of a path that exists
and has a slash in it, dir: may be left out. Times count only with --times.

Of an image in its registry the layers are fetched that are neither here nor known
from an earlier diff, each once, also if A and B share it; none, if all layers of
A and B are the same. They are stored until the diff ends. An archive is stored
meanwhile as a whole.

First comes what is compared, the size of the layer, and how much is added,
modified and deleted; deleted directories are counted down to their files. The
layer stores bytes again for metadata's sake alone where a mode or owner changed,
and these are named. Then come the directories with the most bytes, and a line for
each path: A for added, M for modified and D for deleted, the bytes that the layer
stores for it, and the reason.

On a terminal the paths are as many as fit, those with the most bytes; --all shows
all, in $VENEER_PAGER, $PAGER or less. Elsewhere all paths are printed, with their
bytes as numbers. --stat, --tree and --name-only show the paths in other ways.

` + targetHelp + `

With --exit-code the exit code is 0 if nothing differs, 1 if something does, and
2 for every error.`

func (a *app) diffCommand() *cobra.Command {
	var base baseFlags
	var two compareFlags
	o := diffOptions{format: newFormat()}
	cmd := &cobra.Command{
		Use:   "diff --from IMAGE [flags] | diff A B",
		Short: "Show what a build would change, or what two images differ in",
		Long:  diffLong,
		Example: `  veneer diff --from app:1 --sync ./app:/app
  veneer diff app:1 app:2
  veneer diff --tree app:1 app:2
  veneer diff container:web ./app-rootfs/
  veneer diff app:1 docker://registry.example.org/team/app:2
  veneer diff --exit-code --progress quiet --from app:1 --sync ./app:/app >/dev/null`,
		Args:        two.args(&base),
		Annotations: map[string]string{annotationMounts: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if len(args) > 0 {
				o.to = treeName(args[1])
				err = a.compare(cmd.Context(), two.request(args, &base), &o)
			} else {
				o.to = "this build"
				err = a.diffBuild(cmd.Context(), &base, &o)
			}
			if o.exitCode && err != nil && !errors.Is(err, errDiffers) {
				return &exitCodeError{code: exitUsage, err: err}
			}
			return err
		},
	}
	base.bind(cmd)
	two.bind(cmd)
	o.bind(cmd)
	return cmd
}

// diffOptions say how a difference is shown.
type diffOptions struct {
	format                 enumValue
	exitCode               bool
	stat, tree, names, all bool
	bytes, noPager         bool
	// to is what is compared with the base, in words.
	to string
}

func (o *diffOptions) bind(cmd *cobra.Command) {
	bindFormat(cmd, &o.format)
	fs := cmd.Flags()
	fs.BoolVar(&o.exitCode, "exit-code", false, "end with 1 if something differs, 2 on an error")
	fs.BoolVar(&o.stat, "stat", false, "show each path with a bar of its bytes")
	fs.BoolVar(&o.tree, "tree", false, "show the paths as a tree of directories")
	fs.BoolVar(&o.names, "name-only", false, "print the paths alone")
	fs.BoolVar(&o.all, "all", false, "on a terminal, show all paths and not just what fits")
	fs.BoolVar(&o.bytes, "bytes", false, "print sizes in bytes")
	fs.BoolVar(&o.noPager, "no-pager", false, "on a terminal, show what does not fit there without a pager")
	exclusive(cmd, "stat", "tree", "name-only", "format")
}

// diffBuild shows what a build would change.
func (a *app) diffBuild(ctx context.Context, base *baseFlags, o *diffOptions) error {
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
	err := a.showDiff(ctx, a.withReading, o, do)
	if errors.Is(err, veneer.ErrReading) {
		// --reader view wants a snapshot, and the base has none yet.
		return a.showDiff(ctx, a.withEngine, o, do)
	}
	return err
}

// withEngine is [app.withEngine] or [app.withReading].
type withEngine func(context.Context, func(context.Context, *veneer.Engine) error) error

// showDiff runs one of the library's comparisons and prints the result.
func (a *app) showDiff(ctx context.Context, open withEngine, o *diffOptions, do func(context.Context, *veneer.Engine, veneer.Progress) (*veneer.DiffResult, error)) error {
	var res *veneer.DiffResult
	err := open(ctx, func(ctx context.Context, e *veneer.Engine) (err error) {
		d, err := a.newDisplay(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		res, err = do(ctx, e, d)
		return err
	})
	if err != nil {
		return err
	}
	adviseNotices(res.Warnings)
	if o.format.value == "json" {
		err = printJSON(a.std.out, res)
	} else {
		a.notifyAll("warning: ", res.Warnings)
		err = a.printDiff(ctx, res, o)
	}
	if err == nil && o.exitCode && len(res.Changes) > 0 {
		return errDiffers
	}
	return err
}

// printDiff shows a difference to people.
func (a *app) printDiff(ctx context.Context, res *veneer.DiffResult, o *diffOptions) error {
	if len(res.Changes) == 0 {
		if o.names {
			return nil
		}
		return printLine(a.std.out, "nothing differs from %s", printable(res.Base))
	}
	t := a.terminal()
	view := diffView{to: o.to, color: a.colors(t), exact: o.bytes}
	if t != nil {
		view.width, view.height = t.width, t.height
	}
	if o.all {
		view.height = 0
	}
	write := view.summary
	switch {
	case o.stat:
		write = view.stat
	case o.tree:
		write = view.tree
	case o.names:
		write = view.names
	}
	if o.noPager {
		t = nil
	}
	var text strings.Builder
	write(&text, res)
	return a.page(ctx, t, text.String())
}
