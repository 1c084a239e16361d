package registry

import "errors"

// Errors that a caller may act upon. An error that wraps one of these is a
// [fault.Error]. Its further fields are described at each.
var (
	// ErrDenied means that a registry wants credentials, or others; many say the same
	// of a repository that there is not. Ref is the registry's host.
	ErrDenied = errors.New("access denied, or there is no such repository")
	// ErrRateLimit means that a registry limits the rate of requests. Some allow more
	// to who is logged in. Ref is the registry's host.
	ErrRateLimit = errors.New("the registry limits the rate of requests")
	// ErrCredentials means that credentials are stored that are of a kind that is not
	// supported. Ref is the host that they are for.
	ErrCredentials = errors.New("the credentials are of a kind that is not supported")
	// ErrPlainHTTP means that a registry answers without TLS, and that is not
	// allowed. Ref is the registry's host.
	ErrPlainHTTP = errors.New("the registry speaks plain HTTP")
	// ErrForeignLayer means that a registry lacks a layer for which the image names
	// other addresses. They are used only with [Options].ForeignLayers.
	ErrForeignLayer = errors.New("the layer is not in the registry")
	// ErrElsewhere means that none of the addresses that an image names for a layer
	// gave it, although they were to be used.
	ErrElsewhere = errors.New("the layer could not be fetched from where the image says")
	// ErrOtherContent means that what a registry sent has another size or digest than
	// what it was asked for. Ref is the registry's host. If a mirror or a host that
	// the registry redirects to has sent it, the error says so.
	ErrOtherContent = errors.New("the registry sends other content than it was asked for")
	// ErrLacks means that an image cannot be pushed, since neither the registry nor
	// the engine has all of its content. Ref is the image's name.
	ErrLacks = errors.New("the registry lacks content that this engine does not have either")
)
