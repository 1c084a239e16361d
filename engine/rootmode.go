package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// rootMode is a snapshotter whose new snapshots have a root directory of mode
// 0755, as a daemon's have. This process has the user's umask. It could make a
// root directory of mode 0700, which only root could enter in a container.
//
// rootMode can also remove on a full disk, and reports what it failed to remove.
// Containerd's metadata store only logs that.
type rootMode struct {
	snapshots.Snapshotter
	reserve *reserve
	failed  func(error)
}

// Prepare implements [snapshots.Snapshotter]. The directory is new, and only this
// user can enter its parent. So nobody else can have changed or replaced it before
// its mode is set.
func (s rootMode) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	mounts, err := s.anew(ctx, func() ([]mount.Mount, error) { return s.Snapshotter.Prepare(ctx, key, parent, opts...) })
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		dir := m.Source
		for _, o := range m.Options {
			if upper, ok := strings.CutPrefix(o, "upperdir="); ok {
				dir = upper
			}
		}
		if err := os.Chmod(dir, 0o755); err != nil { // as every root file system has it
			return nil, fmt.Errorf("prepare root directory of snapshot: %w", err)
		}
	}
	return mounts, nil
}

// View implements [snapshots.Snapshotter].
func (s rootMode) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.anew(ctx, func() ([]mount.Mount, error) { return s.Snapshotter.View(ctx, key, parent, opts...) })
}

// anew calls do, and cleans up and calls it once more if the snapshot's directory
// exists already. The snapshotter names a directory before it records the
// snapshot. A process that is killed in between leaves the directory, and the next
// snapshot gets the same name.
func (s rootMode) anew(ctx context.Context, do func() ([]mount.Mount, error)) ([]mount.Mount, error) {
	mounts, err := do()
	if !errors.Is(err, fs.ErrExist) {
		return mounts, err
	}
	if cleanErr := s.Cleanup(ctx); cleanErr != nil {
		return nil, errors.Join(err, fmt.Errorf("remove what a killed process left: %w", cleanErr))
	}
	return do()
}

// Remove implements [snapshots.Snapshotter]; garbage collection calls it.
func (s rootMode) Remove(ctx context.Context, key string) error {
	err := s.reserve.during(func() error { return s.Snapshotter.Remove(ctx, key) })
	// Metadata also tries to remove snapshots that have children or are gone. That
	// is no error.
	if err != nil && !errdefs.IsFailedPrecondition(err) && !errdefs.IsNotFound(err) {
		s.failed(fmt.Errorf("remove snapshot %s: %w", key, err))
	}
	return err
}

// Cleanup implements [snapshots.Cleaner], for snapshotters that do.
func (s rootMode) Cleanup(ctx context.Context) error {
	if c, ok := s.Snapshotter.(snapshots.Cleaner); ok {
		return c.Cleanup(ctx)
	}
	return errdefs.ErrNotImplemented
}
