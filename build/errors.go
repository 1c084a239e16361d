package build

import "errors"

// What a caller may act upon. Errors that wrap these are of type
// [fault.Error], and have more in them: see each.
var (
	// ErrExposes means that a new layer, which everybody can read, would have files
	// of an image's encrypted layers, or lie beside them. Ref is the image.
	ErrExposes = errors.New("files of encrypted layers would become readable")
	// ErrContainerImage means that the image that a container, the Ref, was made
	// from is not known.
	ErrContainerImage = errors.New("the container's image is not known")
	// ErrNoLower means that nothing tells what an image, the Ref, was built on.
	ErrNoLower = errors.New("neither its annotations nor its history tell what it was built on")
	// ErrNotLower means that an image was to be squashed onto one whose layers are
	// not the lower ones of it.
	ErrNotLower = errors.New("the layers of the second are not the lower layers of the first")
	// ErrService means that containerd's diff service cannot make the layer. Path
	// is the file that it cannot store as it is, if it is about one.
	ErrService = errors.New("containerd's diff service cannot make the layer")
)
