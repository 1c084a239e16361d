package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// compareFlags are the flags that only veneer diff A B has.
type compareFlags struct {
	times    bool
	pause    bool
	registry registryFlags
}

func (f *compareFlags) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.times, "times", false, "with A and B: modification times count too")
	fs.BoolVar(&f.pause, "pause", true, "with A and B: pause a container while its files are read")
	f.registry.bind(cmd)
	// Only without A and B; args checks it.
	if err := fs.SetAnnotation("from", cobra.BashCompOneRequiredFlag, []string{"false"}); err != nil {
		panic(err) // There is no such flag.
	}
}

// args checks that there are two trees or a base, and not both.
func (f *compareFlags) args(base *baseFlags) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 && base.from == "":
			return usagef(`want --from IMAGE, or two things to compare: A B`)
		case len(args) == 0 && (cmd.Flags().Changed("times") || cmd.Flags().Changed("pause")):
			return usagef("--times and --pause go with A and B")
		case len(args) == 0:
			return nil
		case len(args) != 2:
			return usagef("want two things to compare, A and B: veneer diff %s", twoOf(args))
		case base.from != "" || len(base.targets) > 0:
			return usagef("A and B are compared as they are: they do not go with --from, --copy, --sync or --delete")
		}
		for _, what := range args {
			if err := checkTree(what); err != nil {
				return err
			}
		}
		return checkPlatform(base.platform)
	}
}

// checkTree refuses arguments that cannot name anything to compare.
func checkTree(what string) error {
	if id, ok := strings.CutPrefix(what, "container:"); ok && id != "" {
		return nil
	}
	if err := namesOutside(what); err != nil {
		return err
	}
	if name, remote := veneer.RegistryRef(what); remote {
		_, err := veneer.ParseRef(name)
		return asUsage(err)
	}
	if dir, ok := veneer.LocalTree(what); ok && dir != "" || isArchive(what) {
		return nil
	}
	return checkRef(what)
}

// treeName is what the result calls A or B.
func treeName(what string) string {
	_, local := veneer.LocalTree(what)
	if local || outside(what) || strings.HasPrefix(what, "container:") {
		return what
	}
	if ref, err := veneer.ParseRef(what); err == nil && ref.Name != "" && ref.IDPrefix == "" {
		return ref.Name
	}
	return what
}

func (f *compareFlags) request(args []string, base *baseFlags) veneer.CompareRequest {
	return veneer.CompareRequest{
		A: args[0], B: args[1], Platform: base.platform, Times: f.times, NoPause: !f.pause, NoCache: base.noCache,
		Registry: f.registry.RegistryOptions,
	}
}

func (a *app) compare(ctx context.Context, req veneer.CompareRequest, o *diffOptions) error {
	open := a.withReading
	if outside(req.A) || outside(req.B) {
		open = a.withEngine // What is read of it is stored for as long as that takes.
	}
	req.Registry.Notify = a.notify
	return a.showDiff(ctx, open, o, func(ctx context.Context, e *veneer.Engine, p veneer.Progress) (*veneer.DiffResult, error) {
		req.Progress = p
		return veneer.Compare(ctx, e, req)
	})
}

// twoOf is how two things are written: those of git's A..B, or A and B.
func twoOf(args []string) string {
	if len(args) == 1 {
		a, b, _ := strings.Cut(args[0], "..")
		if a != "" && b != "" && !strings.HasSuffix(a, "/") {
			return shellWord(a) + " " + shellWord(b)
		}
	}
	return "A B, or of a directory veneer diff --from A --sync DIR:PATH"
}
