package dockerfile

import "errors"

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
