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

const (
	// UnpackHere is this process, where it may write to the snapshots' directories, and
	// else containerd. It is much faster.
	UnpackHere Unpacker = ""
	// UnpackContainerd is containerd's diff service, always.
	UnpackContainerd Unpacker = "containerd"
)

// check returns an error for an unknown one.
func (u Unpacker) check() error {
	switch u {
	case UnpackHere, UnpackContainerd:
		return nil
	}
	return fmt.Errorf("unpacker %q: want %q, or nothing for this process", string(u), UnpackContainerd)
}

var errByContainerd = errors.New("containerd is to unpack")

// Fills returns nil if this process may unpack layers into a directory of a snapshot:
// if it is the same one for the engine, and nobody asked for [UnpackContainerd].
func (e *Engine) Fills(ctx context.Context, dir string) error {
	if e.unpacker == UnpackContainerd {
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
