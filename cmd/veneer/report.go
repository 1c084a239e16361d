package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/cmd/veneer/page"
)

const reportLong = `Write a page that shows what an image is made of: its layers, what takes space in
them and in the whole image, the largest files, what is stored and never seen, and
for each file which layers put it there, replaced or deleted it. With --against it
also says what the image costs those who have the older one: by registry, as a delta,
and on disk, with config and history side by side. With --build it also shows the
steps of the Dockerfile's build that made the image, from the file that
veneer build --metadata-file wrote: how long each took, whether it was cached, and
the bytes of its layer.

The page is one file of HTML that needs no network and no other file. It can be sent
to others and opened in any browser.

` + filesHelp + ` The layers of a registry's image are
fetched to a temporary directory.`

// reportFlags are the flags that only report has.
type reportFlags struct {
	output string
	build  string
	open   bool
	f      registryFlags
}

func (a *app) reportCommand() *cobra.Command {
	var req veneer.DissectRequest
	var flags reportFlags
	cmd := &cobra.Command{
		Use:   "report IMAGE -o FILE",
		Short: "Write a page of what an image is made of",
		Long:  reportLong,
		Example: `  veneer report app:2 -o report.html
  veneer report app:2 --against app:1 -o report.html --open
  veneer build . -t app:3 --metadata-file build.json
  veneer report app:3 --build build.json -o report.html
  veneer report archive:app.tar -o report.html
  veneer report docker://registry.example.org/team/app:2 -o report.html`,
		Args: anyImageArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Image = args[0]
			if req.Against != "" {
				if err := anyImageArg(cmd, []string{req.Against}); err != nil {
					return err
				}
			}
			if err := checkPlatform(req.Platform); err != nil {
				return err
			}
			return a.report(cmd.Context(), req, &flags)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&flags.output, "output", "o", "", "`file` to write, \"-\" for standard output")
	fs.StringVar(&req.Against, "against", "", "compare with an older `image`")
	fs.StringVar(&flags.build, "build", "", "show the steps of a build, from the `file` of build --metadata-file")
	fs.BoolVar(&flags.open, "open", false, "open the page in a browser")
	fs.BoolVar(&req.NoCache, "no-cache", false, "neither use nor keep indexes of layers")
	bindPlatform(cmd, &req.Platform)
	flags.f.bind(cmd)
	return cmd
}

func (a *app) report(ctx context.Context, req veneer.DissectRequest, flags *reportFlags) error {
	switch {
	case flags.output == "":
		return usagef("report needs a file to write, -o FILE, or -o - for standard output")
	case flags.output == "-" && flags.open:
		return usagef("--open needs a file: use -o FILE")
	case flags.output == "-":
		if f, ok := a.outputFile(); ok && term.IsTerminal(int(f.Fd())) {
			return usagef("standard output is a terminal: use -o FILE, or a pipe")
		}
		return a.writeReport(ctx, a.std.out, req, flags)
	}
	f, err := openPending(ctx, flags.output)
	if err != nil {
		return err
	}
	defer f.discard()
	if err := a.writeReport(ctx, f, req, flags); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err // The file that was there stays.
	}
	if err := f.commit(nil); err != nil {
		return err
	}
	if flags.open {
		return a.openPage(ctx, flags.output)
	}
	return nil
}

// writeReport takes the image apart and writes the page.
func (a *app) writeReport(ctx context.Context, w io.Writer, req veneer.DissectRequest, flags *reportFlags) error {
	var made *builtSteps
	if flags.build != "" {
		var err error
		if made, err = readBuilt(ctx, flags.build); err != nil {
			return err
		}
	}
	res, err := a.takeApart(ctx, req, &flags.f)
	if err != nil {
		return err
	}
	var steps []veneer.DockerfileStep
	if made != nil {
		steps = made.Steps
		other := made.check(res.New.Image)
		a.notifyAll("warning: ", other)
		res.Warnings = append(res.Warnings, other...)
	}
	return page.Write(ctx, w, res, steps, versionOf().Version)
}

// engineFor returns what opens the engine that the images are in, or a temporary one
// for images that are in none.
func (a *app) engineFor(req veneer.DissectRequest) (withEngine, error) {
	refs := []string{req.Image}
	if req.Against != "" {
		refs = append(refs, req.Against)
	}
	out, remote := 0, ""
	for _, ref := range refs {
		if outside(ref) {
			out++
		}
		if name, ok := veneer.RegistryRef(ref); ok {
			remote = name
		}
	}
	switch {
	case out == len(refs):
		return withTemporaryEngine, nil
	case remote != "":
		return nil, usagef("%s is in a registry and the other image in the engine: pull %s, or name both by their registry", remote, remote)
	case out > 0:
		return a.withEngine, nil // An archive's image is stored for as long as this takes.
	}
	return a.withReading, nil
}

// openPage opens a file in the user's browser, or says where it is.
func (a *app) openPage(ctx context.Context, name string) error {
	path, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	opener, missing := exec.LookPath("xdg-open")
	if missing != nil {
		a.notify("no xdg-open here; the page is " + path)
		return nil //nolint:nilerr // the page is written, and opening it is up to the user
	}
	if err := exec.CommandContext(ctx, opener, path).Run(); err != nil {
		return fmt.Errorf("open %s in a browser: xdg-open: %w", path, err)
	}
	return nil
}
