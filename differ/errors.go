package differ

import "errors"

// Errors that a caller may act upon. An error that wraps one of these is a
// [fault.Error].
var (
	// ErrDeletes means that a sync of the root directory would delete files of the
	// base, and the target does not have ForceDelete. The fault's Path is one of
	// these files.
	ErrDeletes = errors.New("files of the base would be deleted")
	// ErrNotDir means that a directory was to be copied to a path of the image that
	// is not a directory. The fault's Path is that path.
	ErrNotDir = errors.New("it is not a directory in the image")
	// ErrBaseChanged means that a file of the base is not as its directory listed
	// it. Either the listing comes from the cache and is wrong, or something wrote
	// into a committed snapshot, which must not happen.
	ErrBaseChanged = errors.New("the base's file is not the one that its directory was seen to have")
)
