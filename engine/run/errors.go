package run

import (
	"fmt"
	"strings"
)

// ExitError means that a process ran and ended with another status than 0.
type ExitError struct {
	// Code is the exit code as a shell reports it: 128 and the number of the signal
	// if a signal ended the process.
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

// StartError means that the process did not start: the program is not in the root
// file system, or something that it needs could not be set up.
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
	// Err is the cause. nil: there is nothing more to say.
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
