package run

import (
	"fmt"
	"strings"
)

// ExitError is a process that ran and did not end with status 0.
type ExitError struct {
	// Code is as a shell tells it: 128 more than the signal for what a signal ended.
	Code int
	// Signal is Code without the 128, or 0. A program can also exit so by itself.
	Signal int
	// OOM: the kernel killed a process of it because memory was short, that of the
	// machine or [Process.Memory].
	OOM bool
}

// Error implements error.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("exit code %d", e.Code)
	if e.OOM {
		text += " (the kernel killed a process of it: out of memory)"
	}
	return text
}

// exitError is nil for status 0.
func exitError(code int, oom bool) error {
	if code == 0 {
		return nil
	}
	e := &ExitError{Code: code, OOM: oom}
	// 64 is the highest signal of Linux.
	if code > 128 && code <= 128+64 {
		e.Signal = code - 128
	}
	return e
}

// StartError is a process that did not come to run: its program is not in the
// root file system, or what it needs could not be set up.
type StartError struct {
	Args []string
	Err  error
}

// Error implements error.
func (e *StartError) Error() string {
	return fmt.Sprintf("start %q: %v", strings.Join(e.Args, " "), e.Err)
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// MissingError says what this machine, or this process's rights on it, lacks
// for running processes, and what to do about it.
type MissingError struct {
	// What is missing: "runc", "root".
	What string
	// Advice is what to do.
	Advice string
	// Err is how it came out; nil: there is no more to tell.
	Err error
}

// Error implements error.
func (e *MissingError) Error() string {
	text := "run processes: " + e.What + " is missing"
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text + "; " + e.Advice
}

// Unwrap returns the cause.
func (e *MissingError) Unwrap() error { return e.Err }
