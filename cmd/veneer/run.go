package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// Exit codes. A signal's is 128 plus its number.
const (
	exitOK    = 0
	exitError = 1 // also: veneer diff --exit-code found differences
	exitUsage = 2 // the command line alone is wrong
)

// streams are the standard ones.
type streams struct {
	in       io.Reader
	out, err io.Writer
	// stops: what err shows heeds Control-Z.
	stops *stops
}

// run is the program: it runs the command that args name and returns the exit
// code. It touches no state of the process but the environment, which it reads.
func run(ctx context.Context, args []string, std streams) int {
	out := &output{w: std.out}
	std.out = out
	a := newApp(std, os.LookupEnv)
	a.args = args
	root := a.rootCommand() //nolint:contextcheck // the commands get theirs from ExecuteContextC
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	refuseShells(root)
	cmd, err := root.ExecuteContextC(ctx)
	var stopped signalError
	switch {
	case err == nil && !out.ended(nil):
		return exitOK
	case err != nil && errors.As(context.Cause(ctx), &stopped):
		err = stopped.with(err)
	case out.ended(err):
		return exitClosedPipe
	case !a.started && !errors.As(err, new(*usageError)):
		// Until a command's own code runs, only the command line can be wrong.
		err = &usageError{err: clearUsage(cmd, err), command: cmd.CommandPath()}
	}
	return report(std.err, err, wantsJSON(args, os.LookupEnv))
}

// report prints an error as one line, for people or as JSON. It returns the error's
// exit code.
func report(w io.Writer, err error, asJSON bool) int {
	code := exitCode(err)
	var coded *exitCodeError
	if errors.As(err, &coded) && coded.err == nil {
		return code
	}
	line := cutMiddle(printable(advised(err)), 4000)
	if asJSON {
		line = errorJSON(line, code)
	} else {
		line = "veneer: " + line
	}
	// Nothing can be done about a standard error that cannot be written.
	_, _ = fmt.Fprintln(w, line)
	return code
}

// errorJSON is the error as a line of JSON, the last one with --progress json.
func errorJSON(text string, code int) string {
	data, err := json.Marshal(struct {
		Error    string `json:"error"`
		ExitCode int    `json:"exit_code"`
	}{text, code})
	if err != nil {
		return text // a string and a number always encode
	}
	return string(escapeJSON(data))
}

func exitCode(err error) int {
	var stopped signalError
	var coded *exitCodeError
	switch {
	case errors.As(err, &stopped):
		return stopped.code()
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, new(*usageError)):
		return exitUsage
	}
	return exitError
}

// usageError is an error in the command line itself.
type usageError struct {
	err     error
	command string // as in "veneer build"; may be empty
}

func (e *usageError) Error() string {
	msg := strings.TrimSpace(advised(e.err))
	if e.command == "" {
		return msg
	}
	return msg + "; see " + e.command + " --help"
}

func (e *usageError) Unwrap() error { return e.err }

// usagef returns a usageError.
func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// asUsage marks an error as one of the command line; nil stays nil.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err: err}
}

// exitCodeError ends the program with its own exit code. If err is nil, no message
// is printed.
type exitCodeError struct {
	code int
	err  error
}

func (e *exitCodeError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitCodeError) Unwrap() error { return e.err }

// mayMount reports whether the command that args name may mount something. Then it
// runs in a mount namespace of its own.
func mayMount(args []string) bool {
	cmd, _, err := newApp(streams{}, os.LookupEnv).rootCommand().Find(args)
	return err == nil && cmd.Annotations[annotationMounts] != ""
}

// annotationMounts marks commands that may mount.
const annotationMounts = "veneer.mounts"

// checkRef refuses text that cannot name an image, before an engine is opened.
func checkRef(ref string) error {
	_, err := veneer.ParseRef(ref)
	return asUsage(err)
}

// checkTags refuses text that cannot be an image's name.
func checkTags(tags []string) error {
	for _, t := range tags {
		if err := veneer.CheckName(t); err != nil {
			return asUsage(err)
		}
	}
	return nil
}

// checkPlatform refuses text that cannot be a platform. Empty means the default.
func checkPlatform(platform string) error {
	if platform == "" {
		return nil
	}
	if _, err := platforms.Parse(platform); err != nil {
		return usagef("--platform %s: %w", platform, err)
	}
	return nil
}

// refArgs is a cobra.PositionalArgs for commands that take n images. If n is 0,
// they take one or more.
func refArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		count := minArgs(1)
		if n > 0 {
			count = exactArgs(n)
		}
		if err := count(cmd, args); err != nil {
			return err
		}
		for _, ref := range args {
			if err := checkRef(ref); err != nil {
				return err
			}
		}
		return nil
	}
}
