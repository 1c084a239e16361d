package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"golang.org/x/sys/unix"
)

// errCannotUnpack is what [Engine.Unpacks] returns, wrapped.
var errCannotUnpack = errors.New("cannot unpack images here")

// Unpacks is nil where layers can be applied to snapshots by this process, and
// otherwise an error that says why not and what works instead. A daemon does
// it on its own account, so that nothing is asked of this process.
func (e *Engine) Unpacks() error {
	if e.stores == nil {
		return nil
	}
	missing, err := missingCapabilities()
	if err != nil {
		return fmt.Errorf("%w: %w", errCannotUnpack, err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: the embedded engine needs root to (missing %s); use --no-unpack, or a containerd's socket (--engine=containerd)",
			errCannotUnpack, strings.Join(missing, ", "))
	}
	if err := e.stores.broken[e.Snapshotter]; err != nil {
		return fmt.Errorf("%w: snapshotter %s: %w; use another --snapshotter, another --root, or --no-unpack", errCannotUnpack, e.Snapshotter, err)
	}
	if e.Snapshotter != "overlayfs" {
		return nil
	}
	// Overlayfs cannot be stacked on itself, as in most containers.
	if err := overlayutils.SupportsMultipleLowerDir(snapshotterRoot(e.Root, e.Snapshotter)); err != nil {
		return fmt.Errorf("%w: overlayfs does not work on %s: %w; use --snapshotter=native, another --root, or --no-unpack", errCannotUnpack, e.Root, err)
	}
	return nil
}

// missingCapabilities names what applying a layer takes and this process has
// not: mounts, owners of files, and devices and whiteouts.
func missingCapabilities() ([]string, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	var missing []string
	for _, c := range []struct {
		bit  int
		name string
	}{
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
		{unix.CAP_CHOWN, "CAP_CHOWN"},
		{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
		{unix.CAP_MKNOD, "CAP_MKNOD"},
	} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing, nil
}
