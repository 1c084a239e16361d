package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Cobra and pflag have checks like these. The ones here give errors in words that
// users know: the libraries' errors name Go functions, groups and counts.

// exactArgs wants exactly n arguments.
func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case n == 0 && len(args) > 0:
			return usagef("%s takes no arguments, but there is %q", cmd.CommandPath(), args[0])
		case len(args) != n:
			return argsError(cmd, strconv.Itoa(n), len(args))
		}
		return nil
	}
}

// minArgs wants at least n arguments.
func minArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return argsError(cmd, "at least "+strconv.Itoa(n), len(args))
		}
		return nil
	}
}

// atMostOneArg wants one argument or none.
func atMostOneArg(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return argsError(cmd, "at most 1", len(args))
	}
	return nil
}

func argsError(cmd *cobra.Command, want string, got int) error {
	noun := "arguments"
	if strings.HasSuffix(want, "1") {
		noun = "argument"
	}
	text := fmt.Sprintf("want %s %s, got %d: %s", want, noun, got, strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	address := cmd.Flag("address")
	return asUsage(withHabit(text, habitAddress(cmd, address != nil && address.Changed && !strings.Contains(address.Value.String(), "/"))))
}

// exclusive refuses more than one of the flags. Cobra is told too, so that shells
// do not offer a second one.
func exclusive(cmd *cobra.Command, names ...string) {
	cmd.MarkFlagsMutuallyExclusive(names...)
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		var given []string
		for _, name := range names {
			if cmd.Flags().Changed(name) {
				given = append(given, "--"+name)
			}
		}
		if len(given) > 1 {
			return usagef("%s do not go together: choose one", strings.Join(given, " and "))
		}
		return check(cmd, args)
	}
}

// clearUsage rewords what a library found wrong with a command line.
func clearUsage(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		return fmt.Errorf("--%s %q: %w", value.GetFlag().Name, value.GetValue(), clearValue(value.Unwrap()))
	case errors.As(err, &missing):
		return withHabit(fmt.Sprintf("--%s needs a value", missing.GetFlag().Name), habitAddress(cmd, missing.GetSpecifiedShortnames() == "a"))
	case errors.As(err, &unknown):
		return withHabit("unknown flag "+unknownFlag(unknown), habitFlag(cmd, unknown.GetSpecifiedName()))
	}
	if names := requiredFlags(cmd); len(names) > 0 && strings.HasPrefix(err.Error(), "required flag") {
		return fmt.Errorf("want %s", strings.Join(names, " and "))
	}
	return err
}

// clearValue rewords what is wrong with a flag's value. The library's error names
// the Go function that found it.
func clearValue(err error) error {
	var number *strconv.NumError
	if !errors.As(err, &number) {
		return err
	}
	switch {
	case number.Func == "ParseBool":
		return errors.New("want true or false")
	case errors.Is(err, strconv.ErrRange):
		return errors.New("the number is too large")
	}
	return errors.New("want a whole number")
}

func unknownFlag(e *pflag.NotExistError) string {
	shorts := e.GetSpecifiedShortnames()
	switch {
	case shorts != "" && shorts != e.GetSpecifiedName():
		return fmt.Sprintf("-%s in -%s", e.GetSpecifiedName(), shorts)
	case shorts != "":
		return "-" + shorts
	}
	return "--" + e.GetSpecifiedName()
}

// requiredFlags returns the flags that a command needs and did not get.
func requiredFlags(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if slices.Equal(f.Annotations[cobra.BashCompOneRequiredFlag], []string{"true"}) && !f.Changed {
			what, _ := pflag.UnquoteUsage(f)
			names = append(names, strings.TrimSpace("--"+f.Name+" "+strings.ToUpper(what)))
		}
	})
	return names
}

// wantsJSON reports whether messages are to be JSON, by a command line, which may
// have errors, or else by the environment.
func wantsJSON(args []string, getenv func(string) (string, bool)) bool {
	kind, _ := getenv(progressVariable)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if arg == "--progress" && i+1 < len(args) {
			kind = args[i+1]
		} else if value, ok := strings.CutPrefix(arg, "--progress="); ok {
			kind = value
		}
	}
	return kind == "json" || kind == rawProgress
}
