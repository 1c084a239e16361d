package main

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
)

// exitClosedPipe is the exit code that a shell reports for a program that SIGPIPE
// ended: it wrote to a pipe that nobody reads any more.
const exitClosedPipe = 128 + int(syscall.SIGPIPE)

// closedPipeError is returned by a write to standard output after its reader went
// away, as head(1) does when it has enough lines. It is not reported to the user.
type closedPipeError struct{}

func (closedPipeError) Error() string { return "nobody reads standard output any more" }

// output is standard output. It remembers that its reader went away.
type output struct {
	w      io.Writer
	closed atomic.Bool
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		o.closed.Store(true)
		return n, closedPipeError{}
	}
	return n, err
}

// ended reports whether a command ended only because nobody reads standard output.
// Any other error is still reported.
func (o *output) ended(err error) bool {
	return o.closed.Load() && (err == nil || onlyClosedPipe(err))
}

// unread reports whether nobody reads standard output any more. What fails then does
// so for that reason mostly, and of any other one the error at the end tells.
func (a *app) unread() bool {
	o, ok := a.std.out.(*output)
	return ok && o.closed.Load()
}

// onlyClosedPipe reports whether all causes of an error are closedPipeError.
func onlyClosedPipe(err error) bool {
	switch e := err.(type) { //nolint:errorlint // it looks at each error of the chain in turn
	case closedPipeError:
		return true
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			if !onlyClosedPipe(cause) {
				return false
			}
		}
		return len(e.Unwrap()) > 0
	case interface{ Unwrap() error }:
		return e.Unwrap() != nil && onlyClosedPipe(e.Unwrap())
	}
	return false
}

// outputFile returns standard output if it is an *os.File.
func (a *app) outputFile() (*os.File, bool) {
	o, ok := a.std.out.(*output)
	if !ok {
		return nil, false
	}
	f, ok := o.w.(*os.File)
	return f, ok
}
