package buildkitapi

import (
	"errors"
	"fmt"
	"strings"

	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/engine/run"
)

// said is an error in other words.
type said struct {
	text string
	err  error
}

func (s said) Error() string { return s.text }
func (s said) Unwrap() error { return s.err }

// inItsWords says those errors in BuildKit's words that its clients look for.
func inItsWords(err error) error {
	var failed *dockerfile.RunError
	var missing *dockerfile.MissingError
	var exit *run.ExitError
	switch {
	case errors.As(err, &missing):
		return said{fmt.Sprintf("failed to compute cache key: failed to calculate checksum of ref veneer::files: %q: not found", missing.Path), err}
	case errors.As(err, &failed) && errors.As(err, &exit):
		return said{fmt.Sprintf("process %q did not complete successfully: %s", failed.Command, strings.Replace(exit.Error(), "exit code ", "exit code: ", 1)), err}
	}
	return err
}
