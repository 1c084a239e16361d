package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/veneer-build/veneer"
)

// display is a veneer.Progress that is shown to the user. Close ends it in any
// state. It may be called after Done, and more than once.
type display interface {
	veneer.TotalProgress
	Close()
}

// newDisplay returns the display that --progress asks for. Where ctx has ended, a
// step that is not done was cancelled.
func (a *app) newDisplay(ctx context.Context) (display, error) {
	if a.badProgress != nil {
		return nil, a.badProgress
	}
	return &diskWaiter{display: a.chosenDisplay(ctx), blocks: blocksRead}, nil
}

func (a *app) chosenDisplay(ctx context.Context) display {
	switch a.progressKind() {
	case "tty":
		return a.newTTYDisplay(ctx)
	case "json":
		return a.newLineDisplay(ctx, jsonLine)
	case rawProgress:
		return &rawDisplay{rawPrinter: newRawPrinter(a.stderr)}
	case "quiet":
		return quietDisplay{}
	}
	return a.newLineDisplay(ctx, plainLine)
}

// progressKind is the word of --progress, and for auto one of the others.
func (a *app) progressKind() string {
	kind := a.flags.progress.value
	if a.quiet {
		return "quiet"
	}
	if kind != "auto" {
		return kind
	}
	if t, _ := a.getenv("TERM"); t != "dumb" && isTerminal(a.std.err) {
		return "tty"
	}
	return "plain"
}

// progressVariable is the environment variable that --progress takes its value from.
const progressVariable = "VENEER_PROGRESS"

// defaultProgress gives --progress the variable's value. A flag wins, whatever it
// says. What is no value is an error where progress is to be shown, and only there.
func (a *app) defaultProgress(cmd *cobra.Command) {
	value, ok := a.getenv(progressVariable)
	if !ok || value == "" || cmd.Flags().Changed("progress") {
		return
	}
	if err := a.flags.progress.Set(value); err != nil {
		a.badProgress = usagef("%s=%q: %w", progressVariable, value, err)
	}
	// BuildKit has no form for what is no Dockerfile's.
	if value == rawProgress && !tellsRaw(cmd) {
		a.flags.progress.value = "json"
	}
}

// isTerminal reports whether w is a terminal that has a size. Some terminals that
// programs make have none, and nothing can be shown there.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return err == nil && width > 0 && height > 0
}

// terminalSize is the size of standard error, or that of an old terminal where it is
// none.
func (a *app) terminalSize() (width, height int) {
	if f, ok := a.std.err.(*os.File); ok {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	return 80, 24
}

// foreground reports whether a shell has this process in the foreground of the
// terminal that is standard error, or there is no shell that knows jobs.
func (a *app) foreground() bool {
	f, ok := a.std.err.(*os.File)
	if !ok {
		return true
	}
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	if err != nil || group == unix.Getpgrp() {
		return true // An error: it is not the terminal that this process belongs to.
	}
	if !veneer.InUserNamespace() {
		return false
	}
	// The process that made the namespace is the one that the shell knows.
	parents, err := unix.Getpgid(unix.Getppid())
	return err == nil && group == parents
}

type quietDisplay struct{}

func (quietDisplay) Step(veneer.Step)   {}
func (quietDisplay) Count(int64, int64) {}
func (quietDisplay) Total(int64, int64) {}
func (quietDisplay) About(int64, int64) {}
func (quietDisplay) Done()              {}
func (quietDisplay) Close()             {}
