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
// it on its own account, so that nothing is asked of this process. It is found
// out once: overlayfs is tried by a mount, whose end syncs the file system.
func (e *Engine) Unpacks() error {
	e.unpacksOnce.Do(func() { e.unpacksErr = e.unpacks() })
	return e.unpacksErr
}

func (e *Engine) unpacks() error {
	if e.stores == nil {
		return nil
	}
	if err := Capable(); err != nil {
		return fmt.Errorf("%w: the embedded engine needs root to (%w); use --no-unpack, or a containerd's socket (--engine=containerd)", errCannotUnpack, err)
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

// Capable is nil if this process may make every file that a layer can hold, and
// read every file of a root file system; else the error names what is missing.
// Root in a container or under systemd often has not all of it. It is asked
// before, since not every lack is an error then: without CAP_FSETID, files lose
// their setgid bit, and nobody says so.
func Capable() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	var missing []string
	for _, c := range []struct {
		bit  int
		name string
	}{
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, // mounts, and overlayfs's attributes
		{unix.CAP_CHOWN, "CAP_CHOWN"},
		{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
		{unix.CAP_FOWNER, "CAP_FOWNER"},
		{unix.CAP_FSETID, "CAP_FSETID"},
		{unix.CAP_MKNOD, "CAP_MKNOD"}, // devices, and whiteouts
		{unix.CAP_SETFCAP, "CAP_SETFCAP"},
	} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing %s", strings.Join(missing, ", "))
	}
	return nil
}
