package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// terminal is standard output, if it is one.
type terminal struct {
	file          *os.File
	width, height int
}

// terminal returns nil where standard output is none.
func (a *app) terminal() *terminal {
	f, ok := a.outputFile()
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	t := &terminal{file: f}
	var err error
	if t.width, t.height, err = term.GetSize(int(f.Fd())); err != nil || t.width <= 0 || t.height <= 0 {
		t.width, t.height = 80, 24 // A serial line does not know.
	}
	return t
}

// colors reports whether a terminal gets colours.
func (a *app) colors(t *terminal) bool {
	_, never := a.getenv("NO_COLOR")
	kind, _ := a.getenv("TERM")
	return t != nil && !never && kind != "dumb"
}

// pager returns the command that shows what does not fit on a terminal, as git
// chooses it. Empty means none.
func (a *app) pager() string {
	for _, name := range []string{"VENEER_PAGER", "PAGER"} {
		if command, ok := a.getenv(name); ok {
			if command = strings.TrimSpace(command); command == "cat" {
				return ""
			}
			return command
		}
	}
	if kind, _ := a.getenv("TERM"); kind == "dumb" {
		return ""
	}
	if _, err := exec.LookPath("less"); err != nil {
		return ""
	}
	return "less"
}

// page shows text with a pager on the terminal, or writes it to standard output. Who
// leaves the pager has seen enough, which is no error.
func (a *app) page(ctx context.Context, t *terminal, text string) error {
	command := a.pager()
	if t == nil || command == "" {
		return printRaw(a.std.out, []byte(text))
	}
	// It goes on until the reader leaves it, whatever ends ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr, cmd.Env = t.file, os.Stderr, pagerEnv(os.Environ())
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return printRaw(a.std.out, []byte(text))
	}
	// Control-C is the pager's: this process waits for it, so that the shell does not
	// read the terminal at the same time.
	signal.Ignore(syscall.SIGINT, syscall.SIGQUIT)
	if _, err = io.WriteString(in, text); errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	if cerr := in.Close(); err == nil && cerr != nil && !errors.Is(cerr, os.ErrClosed) {
		err = fmt.Errorf("write result: %w", cerr)
	}
	if werr := cmd.Wait(); err == nil && cmd.ProcessState.ExitCode() == exitNoCommand {
		err = fmt.Errorf("show the result with %q: %w", command, werr)
	}
	return err
}

// exitNoCommand is what a shell ends with that does not find a command.
const exitNoCommand = 127

// pagerEnv is the environment of a pager: less is to end at once if all fits on the
// terminal, show colours, and leave the text there; where the user has not said so
// otherwise.
func pagerEnv(env []string) []string {
	has := func(name string) bool {
		for _, v := range env {
			if strings.HasPrefix(v, name+"=") {
				return true
			}
		}
		return false
	}
	if !has("LESS") {
		env = append(env, "LESS=FRX")
	}
	if !has("LV") {
		env = append(env, "LV=-c")
	}
	return env
}
