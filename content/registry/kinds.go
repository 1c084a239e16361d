package registry

import "errors"

// What a caller may act upon. Errors that wrap these are of type
// [fault.Error], and have more in them: see each.
var (
	// ErrPlainHTTP means that a registry answers without TLS, which was not allowed.
	// Ref is the image's name.
	ErrPlainHTTP = errors.New("the registry speaks plain HTTP")
	// ErrForeignLayer means that a registry lacks a layer for which the image names
	// another address, from which nothing is fetched unless that is asked for.
	ErrForeignLayer = errors.New("the layer is not in the registry")
	// ErrLacks means that an image, the Ref, cannot be pushed, since neither the
	// registry nor the engine has all of its content.
	ErrLacks = errors.New("the registry lacks content that this engine does not have either")
)
