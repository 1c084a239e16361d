package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// completer finds what a shell may offer, with the engine that the command line
// names.
type completer func(context.Context, *veneer.Engine) ([]string, error)

// completeTimeout is how long a person waits for the shell without wondering.
const completeTimeout = 2 * time.Second

// complete lets the shell complete the names of images, containers, snapshotters and
// platforms.
func (a *app) complete(root *cobra.Command) {
	must(root.RegisterFlagCompletionFunc("snapshotter", a.completeWith(snapshotterNames)))
	for _, cmd := range root.Commands() {
		a.completeArgs(cmd)
		for flag, find := range map[string]completer{"against": imageNames, "from": imageNames, "onto": imageNames, "since": imageNames, "platform": platformNames} {
			if cmd.Flags().Lookup(flag) != nil {
				names := a.completeWith(find)
				must(cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
					return names(cmd, nil, word)
				}))
			}
		}
	}
}

// must panics on what is wrong with the program itself.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// completeArgs chooses what the arguments of a command are completed to.
func (a *app) completeArgs(cmd *cobra.Command) {
	images := a.completeWith(imageNames)
	switch cmd.Name() {
	case "rmi", "save", "verify":
		cmd.ValidArgsFunction = images
	case "images", "history", "inspect", "explore", "push", "pull", "report", "squash", "tag", "unit":
		cmd.ValidArgsFunction = firstOnly(1, images)
	case "delta":
		cmd.ValidArgsFunction = firstOnly(2, images)
	case "diff":
		cmd.ValidArgsFunction = firstOnly(2, a.completeTrees)
	case "commit":
		containers := a.completeWith(veneer.Containers)
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return containers(cmd, args, word)
			}
			return images(cmd, args, word)
		}
	case "mount":
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return images(cmd, args, word)
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
	case "unmount":
		cmd.ValidArgsFunction = a.completeWith(mountedDirs)
	case "load", "import":
		cmd.ValidArgsFunction = firstOnly(1, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		})
	case "build":
		cmd.ValidArgsFunction = firstOnly(1, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		})
	case "prune", "version", "login", "logout":
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
}

// firstOnly completes just the first n arguments.
func firstOnly(n int, complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, word)
	}
}

// completeWith offers what find finds and what is not among the arguments. A shell has no place for errors: then there is
// nothing to offer.
func (a *app) completeWith(find completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		var list []string
		for _, name := range a.find(cmd.Context(), find) {
			if strings.HasPrefix(name, word) && !slices.Contains(args, name) && printable(name) == name {
				list = append(list, name)
			}
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeTrees offers what veneer diff compares: images, containers, and files.
func (a *app) completeTrees(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	list, _ := a.completeWith(imageNames)(cmd, args, word)
	containers, _ := a.completeWith(func(ctx context.Context, e *veneer.Engine) ([]string, error) {
		names, err := veneer.Containers(ctx, e)
		for i := range names {
			names[i] = "container:" + names[i]
		}
		return names, err
	})(cmd, args, word)
	return append(list, containers...), cobra.ShellCompDirectiveDefault
}

// find calls a completer with the engine, in silence.
func (a *app) find(ctx context.Context, find completer) []string {
	a.quiet = true
	_ = veneer.QuietLogs("fatal") // Their lines would be words to the shell.
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	var list []string
	_ = a.withReading(ctx, func(ctx context.Context, e *veneer.Engine) (err error) { // See completeWith.
		list, err = find(ctx, e)
		return err
	})
	return list
}

// imageNames are the names as Docker shows them.
func imageNames(ctx context.Context, e *veneer.Engine) ([]string, error) {
	all, err := veneer.Images(ctx, e)
	var list []string
	for _, l := range all {
		if repository, tag := veneer.SplitName(l.Record.Name); tag != "" {
			list = append(list, repository+":"+tag)
		}
	}
	return list, err
}

// platformNames are the usual platforms, and those of images that are here.
func platformNames(ctx context.Context, e *veneer.Engine) ([]string, error) {
	list := []string{
		"linux/386", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64", "linux/ppc64le", "linux/riscv64", "linux/s390x",
	}
	all, err := veneer.Images(ctx, e)
	for _, l := range all {
		for _, p := range l.Platforms {
			list = append(list, platforms.Format(p))
		}
	}
	slices.Sort(list)
	return slices.Compact(list), err
}

func mountedDirs(ctx context.Context, e *veneer.Engine) ([]string, error) {
	list, err := veneer.Mounts(ctx, e)
	var dirs []string
	for i := range list {
		dirs = append(dirs, list[i].Dir)
	}
	return dirs, err
}

func snapshotterNames(ctx context.Context, e *veneer.Engine) ([]string, error) {
	return e.Snapshotters(ctx)
}
