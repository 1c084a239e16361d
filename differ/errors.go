package differ

import "errors"

// What a caller may act upon. Errors that wrap these are of type
// [fault.Error].
var (
	// ErrDeletes means that a sync of the root directory would delete files of the
	// base, and that nobody asked for that. Path is one of them.
	ErrDeletes = errors.New("files of the base would be deleted")
	// ErrNotDir means that a directory was to be copied to what is none in the
	// image, the Path.
	ErrNotDir = errors.New("it is not a directory in the image")
	// ErrBaseChanged means that what was remembered of a base's directory is wrong, or
	// that somebody wrote into a committed snapshot, which nothing is supposed to do.
	ErrBaseChanged = errors.New("the base's file is not the one that its directory was seen to have")
)
