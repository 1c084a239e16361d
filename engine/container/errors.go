package container

import "errors"

// What a caller may act upon. The errors are of type [fault.Error], whose Ref is
// the container.
var (
	// ErrNotFound means that the namespace has no such container. The error wraps
	// [errdefs.ErrNotFound], too.
	ErrNotFound = errors.New("there is no such container")
	// ErrNoSnapshot means that a container's root file system is a directory of
	// its own.
	ErrNoSnapshot = errors.New("it has no snapshot; its root file system is a directory of its own")
	// ErrNotRenewable means that a container cannot go on with other files.
	ErrNotRenewable = errors.New("it cannot be restarted with another image")
	// ErrNotUnpacked means that a snapshotter, the Ref, lacks the image's files.
	ErrNotUnpacked = errors.New("the image is not unpacked there")
	// ErrNotPaused means that a container could not be paused. It runs.
	ErrNotPaused = errors.New("it was not paused")
	// ErrNotResumed means that a container that was paused may be so still.
	ErrNotResumed = errors.New("it may be paused")
)
