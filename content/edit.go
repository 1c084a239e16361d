// Package content holds what is stored by digest: resolving an image, the
// indexes of its layers, its config and manifest, its record, registries and
// archives.
package content

// ConfigEdit changes an image config. The zero value changes nothing.
type ConfigEdit struct {
	// Changes are Dockerfile instructions, as docker commit --change takes them.
	Changes []string
	// Unset removes fields: "env=NAME", "label=NAME", "expose=PORT/PROTO",
	// "volume=PATH", "cmd", "entrypoint", "user", "workdir", "healthcheck",
	// "onbuild", "shell", "stopsignal"; without "=NAME" all of the kind.
	Unset []string
	// Author is the image's author and that of the new history entry.
	Author string
	// Message is the new history entry's comment.
	Message string
}
