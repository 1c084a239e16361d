package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/veneer-build/veneer"
)

// adviceCases are errors for each piece of advice that depends on the error.
func adviceCases() map[string]error {
	cases := map[string]error{}
	for _, a := range advices {
		if a.by == nil {
			cases[a.kind.Error()] = &veneer.Error{Kind: a.kind, Op: "do", Ref: "REF", Path: "PATH"}
		}
	}
	for what, err := range map[string]*veneer.Error{
		"permission": {Kind: veneer.ErrUnreachable, Err: fs.ErrPermission},
		"no socket":  {Kind: veneer.ErrUnreachable, Err: fs.ErrNotExist},
		"given":      {Kind: veneer.ErrNotReplaced, Ref: "namespace"},
		"foreign":    {Kind: veneer.ErrRoot, Err: veneer.ErrForeign},
		"newer":      {Kind: veneer.ErrRoot, Err: veneer.ErrFormat},
		"read-only":  {Kind: veneer.ErrRoot, Err: syscall.EROFS},
		"full":       {Kind: veneer.ErrRoot, Err: syscall.ENOSPC},
		"a file":     {Kind: veneer.ErrRoot, Err: syscall.ENOTDIR},
		"overlayfs":  {Kind: veneer.ErrSnapshotterUnusable, Ref: "overlayfs"},
		"native":     {Kind: veneer.ErrSnapshotterUnusable, Ref: "native"},
		"image":      {Kind: veneer.ErrNoImage, Ref: "app:1"},
		"platform":   {Kind: veneer.ErrPlatformAbsent},
		"platforms":  {Kind: veneer.ErrPlatformAbsent, Ref: "app:1"},
		"RUN":        {Kind: veneer.ErrNotConfig, Ref: "RUN"},
		"COPY":       {Kind: veneer.ErrNotConfig, Ref: "COPY"},
		"ADD":        {Kind: veneer.ErrNotConfig, Ref: "ADD"},
		"FROM":       {Kind: veneer.ErrNotConfig, Ref: "FROM"},
		"daemon":     {Kind: veneer.ErrDisconnected},
		"proxy":      {Kind: veneer.ErrSnapshotterDead, Ref: "stargz"},
	} {
		cases[what] = err
	}
	return cases
}

// TestAdviceNamesWhatThereIs: the flags and commands that advice names exist.
func TestAdviceNamesWhatThereIs(t *testing.T) {
	flags, commands := map[string]bool{}, map[string]bool{}
	var learn func(cmd *cobra.Command)
	learn = func(cmd *cobra.Command) {
		commands[cmd.Name()] = true
		for _, set := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) {
				flags["--"+f.Name] = true
				if f.Shorthand != "" {
					flags["-"+f.Shorthand] = true
				}
			})
		}
		for _, sub := range cmd.Commands() {
			learn(sub)
		}
	}
	learn(newApp(streams{}, os.LookupEnv).rootCommand())
	foreign := regexp.MustCompile("`ctr [^`]*`|nsenter .*") // commands of others
	for what, err := range adviceCases() {
		list := adviceOn(err)
		if len(list) == 0 || list[0] == "" || strings.ContainsAny(list[0], "{}") {
			t.Errorf("%s: advice %q", what, list)
			continue
		}
		text := foreign.ReplaceAllString(list[0], "")
		for _, flag := range regexp.MustCompile(`(?:^|[\s('])(--?[a-z][a-z-]*)`).FindAllStringSubmatch(text, -1) {
			if !flags[flag[1]] {
				t.Errorf("%s: no flag %s: %s", what, flag[1], text)
			}
		}
		for _, command := range regexp.MustCompile(`veneer ([a-z]+)`).FindAllStringSubmatch(text, -1) {
			if !commands[command[1]] {
				t.Errorf("%s: no command %s: %s", what, command[1], text)
			}
		}
	}
}

func TestAdvised(t *testing.T) {
	absent := func(ref string) error {
		return fmt.Errorf("resolve: %w", &veneer.Error{Kind: veneer.ErrNoImage, Ref: ref, Err: fmt.Errorf("no image %q", ref)})
	}
	needs := &veneer.Error{Kind: veneer.ErrNeedsBase, Ref: "a", Err: &veneer.Error{Kind: veneer.ErrNeedsBase, Ref: "b", Err: errors.New("it is a delta")}}
	left := &veneer.Error{Kind: veneer.ErrLeftBehind, Op: "end lease", Ref: "l", Err: errors.New("no answer")}
	dead := func(err error) error { return &veneer.Error{Kind: veneer.ErrDisconnected, Err: err} }
	for want, err := range map[string]error{
		"load; try again when it runs; veneer prune removes what this left":             dead(errors.New("load")),
		"load, end lease l: no answer; try again when it runs; veneer prune removes it": dead(fmt.Errorf("load, %w", left)),
		"plain": errors.New("plain"),
		`resolve: no image "a"; get it with veneer pull a or veneer load FILE`: absent("a"),
		`resolve: no image ""`:                        absent(""),
		"load: " + veneer.ErrInUse.Error():            fmt.Errorf("load: %w", errors.New(veneer.ErrInUse.Error())),
		"it is a delta; veneer pull a; veneer pull b": needs,
		"no base image given; use --from NAME, or --from scratch; see veneer build --help":                     &usageError{err: veneer.ErrNoBase, command: "veneer build"},
		"x: 1\nresolve: no image \"b\"; get it with veneer pull b or veneer load FILE":                         errors.Join(errors.New("x: 1"), absent("b")),
		`both: resolve: no image "a" and resolve: no image "a"; get it with veneer pull a or veneer load FILE`: fmt.Errorf("both: %w and %w", absent("a"), absent("a")),
		"stays: " + veneer.ErrOtherNamespace.Error() + "; choose that with --namespace":                        fmt.Errorf("stays: %w", &veneer.Error{Kind: veneer.ErrOtherNamespace}),
	} {
		if got := advised(err); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestAdviseResult(t *testing.T) {
	unnamed := veneer.Notice{Text: "linux/arm64: it goes", Cause: veneer.ErrUnnamed}
	res := &veneer.Result{
		Warnings:  []veneer.Notice{unnamed, {Text: "just so"}},
		Manifests: []*veneer.Result{{Warnings: []veneer.Notice{unnamed}}},
		Notes:     []veneer.Notice{{Text: "a file", Cause: &veneer.Error{Kind: veneer.ErrArchiveAsFile, Ref: "sync", Path: "a.tar"}}},
	}
	adviseResult(res)
	const want = "linux/arm64: it goes; use -t NAME to keep it"
	if res.Warnings[0].Text != want || res.Manifests[0].Warnings[0].Text != want || res.Warnings[1].Text != "just so" {
		t.Errorf("%q, %q", res.Warnings, res.Manifests[0].Warnings)
	}
	if n := res.Notes[0].Text; !strings.HasPrefix(n, "a file; ") || !strings.Contains(n, "--sync type=tar,src=a.tar,dest=/") {
		t.Errorf("%q", n)
	}
}
