package run

import (
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/util/archutil"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PlatformError means that this machine cannot run programs of a platform.
type PlatformError struct {
	Platform ocispec.Platform
	// Runs are the platforms whose programs it can.
	Runs []ocispec.Platform
}

// Error implements error.
func (e *PlatformError) Error() string {
	var names []string
	for _, p := range e.Runs {
		names = append(names, platforms.Format(p))
	}
	return fmt.Sprintf("run programs of %s: this machine runs %s; register an emulator with binfmt_misc, with its flag F "+
		"(Debian: the packages qemu-user-static and binfmt-support)", platforms.Format(e.Platform), strings.Join(names, ", "))
}

// CheckPlatform returns nil if this machine runs programs of a platform: its own
// platform, or one with an emulator in binfmt_misc. It runs a tiny program to find
// that out. Otherwise it returns a [*PlatformError].
func CheckPlatform(p ocispec.Platform) error {
	own := platforms.DefaultSpec()
	if platforms.Only(own).Match(p) {
		return nil
	}
	all := archutil.SupportedPlatforms(true)
	for _, other := range all {
		if platforms.Only(other).Match(p) {
			return nil
		}
	}
	return &PlatformError{Platform: p, Runs: all}
}
