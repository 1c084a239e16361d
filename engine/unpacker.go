package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/moby/sys/userns"
)

// Unpacker says who unpacks layers into snapshots.
type Unpacker string

// The unpackers; empty is UnpackerAuto.
const (
	// UnpackerAuto is this process, where it may write to the snapshots' directories,
	// and else containerd.
	UnpackerAuto Unpacker = "auto"
	// UnpackerContainerd is containerd's diff service, always. It is slower, and is kept
	// for a release.
	UnpackerContainerd Unpacker = "containerd"
)

// check returns an error for an unknown one.
func (u Unpacker) check() error {
	switch u {
	case "", UnpackerAuto, UnpackerContainerd:
		return nil
	}
	return fmt.Errorf("unpacker %q: unknown; use %s or %s", string(u), UnpackerAuto, UnpackerContainerd)
}

var errByContainerd = errors.New("containerd is to unpack")

// Fills returns nil if this process may unpack layers into a directory of a snapshot:
// if it is the same one for the engine, and nobody asked for [UnpackerContainerd].
func (e *Engine) Fills(ctx context.Context, dir string) error {
	if e.unpacker == UnpackerContainerd {
		return errByContainerd
	}
	if !e.UsesDirs() {
		return fmt.Errorf("unpack into %s: %w", dir, ErrNeedsRoot)
	}
	return e.Sees(ctx, dir)
}

// Rebases reports whether snapshots can be given their parents when they are committed,
// so that the layers of an image can be unpacked side by side. Daemons before 2.2
// cannot.
func (e *Engine) Rebases(ctx context.Context) bool {
	// Whiteouts are made without a mount then, which takes more than a user namespace's root.
	if e.Snapshotter != "overlayfs" || userns.RunningInUserNS() {
		return false
	}
	if e.Mode == Embedded {
		return true
	}
	can, err := e.Client.GetSnapshotterCapabilities(ctx, e.Snapshotter)
	return err == nil && slices.Contains(can, snapshots.RebaseCap)
}
