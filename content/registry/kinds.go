package registry

import "errors"

// Errors that a caller may act upon. An error that wraps one of these is a
// [fault.Error]. Its further fields are described at each.
var (
	// ErrPlainHTTP means that a registry answers without TLS, and that is not
	// allowed. Ref is the image's name.
	ErrPlainHTTP = errors.New("the registry speaks plain HTTP")
	// ErrForeignLayer means that a registry lacks a layer for which the image names
	// other addresses. They are used only with [Options].ForeignLayers.
	ErrForeignLayer = errors.New("the layer is not in the registry")
	// ErrLacks means that an image cannot be pushed, since neither the registry nor
	// the engine has all of its content. Ref is the image's name.
	ErrLacks = errors.New("the registry lacks content that this engine does not have either")
)
