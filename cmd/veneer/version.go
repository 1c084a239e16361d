package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=…). If it is not, the module's
// version that the go command recorded is used.
var version string

// buildInfo is what veneer version tells.
type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	// Date is the commit's, in RFC 3339.
	Date string `json:"date,omitempty"`
	Go   string `json:"go"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
	// Containerd and BuildKit are the versions of the libraries, whose formats and language the program has.
	Containerd string `json:"containerd,omitempty"`
	BuildKit   string `json:"buildkit,omitempty"`
}

func versionOf() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		}
	}
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/containerd/containerd/v2":
			b.Containerd = m.Version
		case "github.com/moby/buildkit":
			b.BuildKit = m.Version
		}
	}
	return b
}

// lines are what a person reads: first the version, then what is known of where it comes from.
func (b *buildInfo) lines() []string {
	lines := []string{fmt.Sprintf("veneer %s %s/%s %s", b.Version, b.OS, b.Arch, b.Go)}
	if b.Commit != "" {
		lines = append(lines, "commit "+b.Commit+" of "+b.Date)
	}
	if b.Containerd != "" {
		lines = append(lines, "containerd library "+b.Containerd+", BuildKit's Dockerfile language "+b.BuildKit)
	}
	return lines
}

func (a *app) versionCommand() *cobra.Command {
	format := newFormat()
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  veneer version --format json",
		Args:    exactArgs(0),
		RunE: func(*cobra.Command, []string) error {
			b := versionOf()
			if format.value == "json" {
				return printJSON(a.std.out, b)
			}
			return printLine(a.std.out, "%s", strings.Join(b.lines(), "\n"))
		},
	}
	bindFormat(cmd, &format)
	return cmd
}

// bindVersion adds --version, which comes before all that is wrong with the rest of the
// command line. Cobra has the flag too, but takes its words from a text/template, see
// package page.
func (a *app) bindVersion(root *cobra.Command) {
	var wanted bool
	root.Flags().BoolVarP(&wanted, "version", "v", false, "version for veneer")
	checkArgs, run := root.Args, root.RunE
	root.Args = func(cmd *cobra.Command, args []string) error {
		if wanted {
			return nil
		}
		return checkArgs(cmd, args)
	}
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if wanted {
			return printLine(a.std.out, "veneer %s", versionOf().Version)
		}
		return run(cmd, args)
	}
}

func newFormat() enumValue { return newEnum("text", "text", "json") }

func bindFormat(cmd *cobra.Command, format *enumValue) {
	cmd.Flags().Var(format, "format", "of the output: text or json")
	completeWords(cmd, map[string][]string{"format": format.allowed})
}
