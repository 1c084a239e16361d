package content

import (
	"errors"
	"fmt"
)

// What a caller may act upon, beside [ErrCorrupt] and [ErrEncrypted]. Errors
// that wrap these are of type [fault.Error], and have more in them: see each.
var (
	// ErrNoImage means that the engine has no such image. Ref is its name; empty
	// where it was asked for by digest. The error wraps [errdefs.ErrNotFound], too.
	ErrNoImage = errors.New("there is no such image")
	// ErrOtherNamespace means that another namespace of the engine has the image.
	ErrOtherNamespace = fmt.Errorf("%w in this namespace", ErrNoImage)
	// ErrPlatform means that an image is not one of the platform that is wanted.
	ErrPlatform = errors.New("no image for the platform")
	// ErrPlatformAbsent means that an image has the platform, but that its content is
	// not in the engine. Ref is the image's name, or empty.
	ErrPlatformAbsent = errors.New("the platform's content is not in this engine")
	// ErrNoAnnotations means that an image of Docker's format was to get annotations.
	ErrNoAnnotations = errors.New("Docker's format has no annotations") //nolint:staticcheck // a name
	// ErrNoZstd means that an image of Docker's format was to get a zstd layer.
	ErrNoZstd = errors.New("Docker's format has no zstd layers") //nolint:staticcheck // a name
)
