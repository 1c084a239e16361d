package archive

import "errors"

// What a caller may act upon. Errors that wrap these are of type
// [fault.Error], and have more in them: see each.
var (
	// ErrNotImage means that an archive holds files and no image.
	ErrNotImage = errors.New("the archive holds no image")
	// ErrSeveral means that an archive holds several images, and was to get one name.
	ErrSeveral = errors.New("the archive holds several images")
	// ErrNoName means that an archive has no name for an image, or none that can be
	// used. Ref is the image's digest.
	ErrNoName = errors.New("the archive has no name for the image")
	// ErrSeveralNameless is ErrNoName for one of several images, which one name
	// cannot serve.
	ErrSeveralNameless = errors.New("the archive has no names for several images")
	// ErrNeedsBase means that an archive is a delta to an image that is not here,
	// the Ref. Where it is a delta to several there are errors for each.
	ErrNeedsBase = errors.New("the archive is a delta to an image that is not here")
	// ErrIncomplete means that an image lacks layers here, so that it cannot be
	// written as a whole.
	ErrIncomplete = errors.New("layers of the image are not stored")
)
