// Package fault has the error that every package returns where a caller may act
// upon what went wrong. The root package shows it to others.
package fault

import (
	"context"
	"errors"
	"strings"
)

// ErrLeftBehind means that something of a failed work could not be removed. The
// next prune removes it.
var ErrLeftBehind = errors.New("it could not be removed")

// Error says what was attempted, on what, and why it failed. errors.Is finds its
// Kind, and what Err wraps.
type Error struct {
	// Kind is what a caller may act upon: one of the sentinels that are called
	// Err…. It is in the message only where Err is nil.
	Kind error
	// Op is what was attempted, as in "squash". Where it is empty, Err says so.
	Op string
	// Ref is the name or the digest of the image, container or the like that it is
	// about, Path is a path of the host or in the image. Either may be empty.
	Ref, Path string
	// Err says why; nil: Kind does.
	Err error
}

// Error is "OP REF PATH: WHY", or without Op just the reason.
func (e *Error) Error() string {
	why := e.Err
	if why == nil {
		why = e.Kind
	}
	if e.Op == "" {
		return why.Error()
	}
	what := []string{e.Op}
	for _, part := range []string{e.Ref, e.Path} {
		if part != "" {
			what = append(what, part)
		}
	}
	return strings.Join(what, " ") + ": " + why.Error()
}

// Unwrap returns the kind and the reason.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Mark gives an error a kind, and leaves its message as it is.
func Mark(kind, err error) error { return &Error{Kind: kind, Err: err} }

// All returns the Errors in an error's tree, the outer ones first.
func All(err error) []*Error {
	var list []*Error
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
	case nil:
		return nil
	case *Error:
		list = append(list, e)
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		list = append(list, All(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			list = append(list, All(err)...)
		}
	}
	return list
}

// Notice tells of something that is no failure. In JSON it is its text.
type Notice struct {
	Text string
	// Cause is an [Error] where a caller may act upon it; else nil.
	Cause error
}

// NoticeOf tells of an error.
func NoticeOf(err error) Notice { return Notice{Text: err.Error(), Cause: err} }

// String is the text.
func (n Notice) String() string { return n.Text }

// MarshalText implements [encoding.TextMarshaler].
func (n Notice) MarshalText() ([]byte, error) { return []byte(n.Text), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *Notice) UnmarshalText(text []byte) error {
	n.Text = string(text)
	return nil
}

// Ended returns why a context has ended: its cause, which errors.Is also finds to be
// [context.Canceled] or [context.DeadlineExceeded]. A context whose cause is the error of
// something else thereby does not pass that off as the error of what it stopped.
func Ended(ctx context.Context) error {
	cause, err := context.Cause(ctx), ctx.Err()
	if err == nil || errors.Is(cause, err) {
		return cause
	}
	return ended{cause, err}
}

type ended struct{ cause, err error }

func (e ended) Error() string   { return e.cause.Error() }
func (e ended) Unwrap() []error { return []error{e.cause, e.err} }
