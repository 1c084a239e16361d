package dockerfile

import (
	"errors"
	"io/fs"
)

// What a caller may act upon. Errors that wrap these are of type
// [fault.Error].
var (
	// ErrNotAllowed means that a Dockerfile asks for a right, the Ref, that the
	// caller did not give.
	ErrNotAllowed = errors.New("nobody allowed it")
	// ErrNoSecret means that a RUN needs a secret, ErrNoAgent an SSH agent, and
	// ErrNoContext that files are taken from a build context, whose name is Ref, and
	// that the caller gave none of that name.
	ErrNoSecret  = errors.New("there is no such secret")
	ErrNoAgent   = errors.New("there is no such agent")
	ErrNoContext = errors.New("there is no such build context")
	// ErrNoGit means that the Ref is a repository, and that git is not installed.
	ErrNoGit = errors.New("git is not installed")
)

// MissingError means that a COPY or an ADD names a path that leads nowhere.
type MissingError struct {
	Path string
	Err  error
}

// Error implements error.
func (e *MissingError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *MissingError) Unwrap() error { return e.Err }

// missing makes a [MissingError] of an error for a path, if it is one.
func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingError{Path: path, Err: err}
	}
	return err
}
