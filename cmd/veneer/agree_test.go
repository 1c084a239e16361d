package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestHelpManAndCompletionAgree: each flag that a command's help shows is in its man
// page and its reference, and a shell is offered it; they show no other flag.
func TestHelpManAndCompletionAgree(t *testing.T) {
	isolate(t)
	t.Setenv("VENEER_ENGINE", "containerd") // Nothing is looked for: there is no daemon.
	t.Setenv("CONTAINERD_ADDRESS", t.TempDir()+"/no.sock")
	seen := 0
	eachCommand(newApp(streams{}, os.LookupEnv).rootCommand(), func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())
		man := flagsIn(t, filepath.Join("../../docs/man", strings.Join(path, "-")+".1"), ".SH OPTIONS", ".SH EXAMPLE")
		reference := flagsIn(t, filepath.Join("../../docs/cli", strings.Join(path, "_")+".md"), "### Options", "### SEE ALSO")
		help := map[string]bool{}
		cmd.InitDefaultHelpFlag()
		show := func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			seen++
			help[f.Name] = true
			if !man[f.Name] || !reference[f.Name] {
				t.Errorf("%s: --%s is in the help; in the man page: %v, in the reference: %v", cmd.CommandPath(), f.Name, man[f.Name], reference[f.Name])
			}
			out, _ := ok(t, append(append([]string{"__complete"}, path[1:]...), "--"+f.Name)...)
			if !regexp.MustCompile(`(?m)^--` + regexp.QuoteMeta(f.Name) + `(\t|$)`).MatchString(out) {
				t.Errorf("%s --%s: a shell is offered %q", cmd.CommandPath(), f.Name, out)
			}
		}
		cmd.LocalFlags().VisitAll(show)
		cmd.InheritedFlags().VisitAll(show)
		for name := range man {
			if !help[name] {
				t.Errorf("%s: --%s is in the man page and not in the help", cmd.CommandPath(), name)
			}
		}
	})
	if seen < 200 {
		t.Errorf("only %d flags were looked at", seen)
	}
}

// flagsIn returns the flags that begin a line in a part of a document.
func flagsIn(t *testing.T, name, from, to string) map[string]bool {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
		return nil
	}
	_, text, _ := strings.Cut(strings.ReplaceAll(string(data), `\`, ""), from)
	text, _, _ = strings.Cut(text, to)
	flags := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(?:fB| *)(?:-\w(?:fP)?, (?:fB)?)?--([\w-]+?)(?:fP|[ =\[]|$)`).FindAllStringSubmatch(text, -1) {
		flags[m[1]] = true
	}
	return flags
}

// TestExamplesParse: the command line of each example in the help is one that the
// command takes.
func TestExamplesParse(t *testing.T) {
	isolate(t)
	t.Chdir(t.TempDir())
	for _, dir := range []string{"app", "app-rootfs"} { // What has a slash in it is a path where it exists.
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	eachCommand(newApp(streams{}, os.LookupEnv).rootCommand(), func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			for _, args := range veneersIn(line) {
				seen++
				root := newApp(streams{}, os.LookupEnv).rootCommand()
				found, rest, err := root.Find(args)
				if err != nil {
					t.Errorf("%q: %v", args, err)
					continue
				}
				if err := found.ParseFlags(rest); err != nil {
					t.Errorf("%q: %v", args, err)
					continue
				}
				if strings.Contains(line, "…") {
					continue // A digest that is cut is none.
				}
				for _, err := range []error{found.ValidateRequiredFlags(), found.ValidateFlagGroups(), found.ValidateArgs(found.Flags().Args())} {
					if err != nil {
						t.Errorf("%q: %v", args, err)
					}
				}
			}
		}
	})
	if seen < 60 {
		t.Errorf("only %d examples were looked at", seen)
	}
}

// eachCommand calls do with each command that the help shows.
func eachCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	if cmd.Hidden {
		return
	}
	do(cmd)
	for _, sub := range cmd.Commands() {
		eachCommand(sub, do)
	}
}

// veneersIn returns the arguments of each veneer that a shell would run for a line.
// It knows quotes, and what ends a command.
func veneersIn(line string) [][]string {
	var list [][]string
	var words []string
	end := func() {
		for i, w := range words {
			if w == "veneer" {
				list = append(list, words[i+1:])
				break
			}
		}
		words = nil
	}
	for _, m := range regexp.MustCompile(`[|&;]+|[<>]+ *\S+|(?:'[^']*'|"[^"]*"|[^\s'"|&;<>])+`).FindAllString(line, -1) {
		switch {
		case strings.ContainsAny(m[:1], "|&;"):
			end()
		case strings.ContainsAny(m[:1], "<>"):
		case strings.HasPrefix(m, "#"):
			end()
			return list
		default:
			words = append(words, regexp.MustCompile(`'([^']*)'|"([^"]*)"`).ReplaceAllString(m, "$1$2"))
		}
	}
	end()
	return list
}
