package archive

import "errors"

// Errors that a caller may act upon. An error that wraps one of these is a
// [fault.Error]. Its further fields are described at each.
var (
	// ErrNotImage means that an archive has files and no image.
	ErrNotImage = errors.New("the archive holds no image")
	// ErrSeveral means that an archive has several images, and one name was given.
	ErrSeveral = errors.New("the archive holds several images")
	// ErrNoName means that an archive has no usable name for an image. Ref is the
	// image's digest.
	ErrNoName = errors.New("the archive has no name for the image")
	// ErrSeveralNameless is ErrNoName for an archive with several images without
	// names.
	ErrSeveralNameless = errors.New("the archive has no names for several images")
	// ErrNeedsBase means that an archive is a delta to an image that is not here.
	// Ref is that image. If it needs several images, there is one error for each.
	ErrNeedsBase = errors.New("the archive is a delta to an image that is not here")
	// ErrNotRebuilt means that a layer, whose digest is Ref, cannot be made of its delta
	// as the blob that it is: how it was compressed is not known, or not to this
	// version.
	ErrNotRebuilt = errors.New("the layer cannot be made again as it was")
	// ErrSourceDiffers means that files of the image that is Ref are not those that the
	// archive's delta was made from. Path is one of them, or empty if that is not known.
	ErrSourceDiffers = errors.New("files of the image are not those that the delta was made from")
	// ErrIncomplete means that layers of an image are not stored here, so that it
	// cannot be exported whole.
	ErrIncomplete = errors.New("layers of the image are not stored")
)
