package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer/content"
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
}

// run is the program: it runs the command that args name and returns the exit
// code. It touches no state of the process but the environment, which it reads.
func run(ctx context.Context, args []string, std streams) int {
	a := newApp(std, os.LookupEnv)
	root := a.rootCommand() //nolint:contextcheck // the commands get theirs from ExecuteContextC
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	// Until a command's own code runs, only the command line can be wrong.
	if !a.started && !errors.As(err, new(*usageError)) {
		err = &usageError{err: err, command: cmd.CommandPath()}
	}
	var stopped signalError
	if errors.As(context.Cause(ctx), &stopped) {
		err = stopped
	}
	return report(std.err, err)
}

// report prints an error as one line and returns the exit code that it means.
func report(w io.Writer, err error) int {
	var coded *exitCodeError
	if errors.As(err, &coded) && coded.err == nil {
		return coded.code
	}
	// Nothing can be done about a standard error that cannot be written.
	_, _ = fmt.Fprintln(w, "veneer: "+cutMiddle(printable(err.Error()), 4000))
	var stopped signalError
	switch {
	case errors.As(err, &stopped):
		return stopped.code()
	case coded != nil:
		return coded.code
	case errors.As(err, new(*usageError)):
		return exitUsage
	}
	return exitError
}

// usageError is about what the command line alone shows to be wrong.
type usageError struct {
	err     error
	command string // as in "veneer build"; may be empty
}

func (e *usageError) Error() string {
	msg := strings.TrimSpace(e.err.Error())
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

// exitCodeError ends the program with a code of its own; with a nil err,
// without a message.
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

// mayMount reports whether the command that args name may mount something,
// for which it gets a mount namespace of its own.
func mayMount(args []string) bool {
	cmd, _, err := newApp(streams{}, os.LookupEnv).rootCommand().Find(args)
	return err == nil && cmd.Annotations[annotationMounts] != ""
}

// annotationMounts marks commands that may mount.
const annotationMounts = "veneer.mounts"

// checkRef refuses what can name no image, before an engine is opened.
func checkRef(ref string) error {
	_, err := content.ParseRef(ref)
	return asUsage(err)
}

// checkTags refuses what cannot be an image's name.
func checkTags(tags []string) error {
	for _, t := range tags {
		if _, err := content.NormalizeTag(t); err != nil {
			return asUsage(err)
		}
	}
	return nil
}

// checkPlatform refuses what can be no platform; empty is the default one.
func checkPlatform(platform string) error {
	if platform == "" {
		return nil
	}
	if _, err := platforms.Parse(platform); err != nil {
		return usagef("--platform %s: %w", platform, err)
	}
	return nil
}

// refArgs is a cobra.PositionalArgs for commands that take n images, or at
// least one if n is 0.
func refArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		count := cobra.MinimumNArgs(1)
		if n > 0 {
			count = cobra.ExactArgs(n)
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
