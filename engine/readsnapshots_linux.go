package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/userns"
	bolt "go.etcd.io/bbolt"
)

// readSnapshots shows the committed snapshots of containerd's overlayfs or
// native snapshotter by a copy of its database. A view is noted in the copy and
// needs no directory, since it shows its parents.
type readSnapshots struct {
	ms      *storage.MetaStore
	dir     string
	overlay bool
}

// copySnapshots copies the database of the snapshotter in dir.
func copySnapshots(ctx context.Context, dir string, overlay bool) (*readSnapshots, error) {
	path := filepath.Join(dir, "metadata.db")
	file, err := copyDatabase(ctx, path)
	if err != nil {
		return nil, err
	}
	ms, err := storage.NewMetaStore(path, func(o *bolt.Options) error {
		*o = *inMemory(file)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := &readSnapshots{ms: ms, dir: dir, overlay: overlay}
	// The file is bolt's from here on.
	if err := ms.WithTransaction(ctx, true, func(context.Context) error { return nil }); err != nil {
		return nil, fmt.Errorf("open copy of %s: %w", path, err)
	}
	return s, nil
}

// Stat implements [snapshots.Snapshotter].
func (s *readSnapshots) Stat(ctx context.Context, key string) (info snapshots.Info, err error) {
	err = s.ms.WithTransaction(ctx, false, func(ctx context.Context) error {
		_, info, _, err = storage.GetInfo(ctx, key)
		return err
	})
	return info, err
}

// Update implements [snapshots.Snapshotter], in the copy.
func (s *readSnapshots) Update(ctx context.Context, info snapshots.Info, fields ...string) (updated snapshots.Info, err error) {
	err = s.ms.WithTransaction(ctx, true, func(ctx context.Context) error {
		updated, err = storage.UpdateInfo(ctx, info, fields...)
		return err
	})
	return updated, err
}

// Usage implements [snapshots.Snapshotter]; of committed snapshots it is noted.
func (s *readSnapshots) Usage(ctx context.Context, key string) (usage snapshots.Usage, err error) {
	err = s.ms.WithTransaction(ctx, false, func(ctx context.Context) error {
		_, _, usage, err = storage.GetInfo(ctx, key)
		return err
	})
	return usage, err
}

// Mounts implements [snapshots.Snapshotter].
func (s *readSnapshots) Mounts(ctx context.Context, key string) (mounts []mount.Mount, err error) {
	err = s.ms.WithTransaction(ctx, false, func(ctx context.Context) error {
		snapshot, err := storage.GetSnapshot(ctx, key)
		if err != nil {
			return err
		}
		mounts, err = s.mounts(snapshot)
		return err
	})
	return mounts, err
}

// View implements [snapshots.Snapshotter], in the copy.
func (s *readSnapshots) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) (mounts []mount.Mount, err error) {
	err = s.ms.WithTransaction(ctx, true, func(ctx context.Context) error {
		snapshot, err := storage.CreateSnapshot(ctx, snapshots.KindView, key, parent, opts...)
		if err != nil {
			return err
		}
		mounts, err = s.mounts(snapshot)
		return err
	})
	return mounts, err
}

// mounts are those that containerd's own snapshotter gives for a view.
func (s *readSnapshots) mounts(snapshot storage.Snapshot) ([]mount.Mount, error) {
	if snapshot.Kind != snapshots.KindView || len(snapshot.ParentIDs) == 0 {
		return nil, fmt.Errorf("mount a snapshot that is no view of others: %w", ErrReading)
	}
	var dirs []string
	for _, id := range snapshot.ParentIDs {
		dir := filepath.Join(s.dir, "snapshots", id)
		if s.overlay {
			dir = filepath.Join(dir, "fs")
		}
		dirs = append(dirs, dir)
	}
	if !s.overlay || len(dirs) == 1 {
		return []mount.Mount{{Type: "bind", Source: dirs[0], Options: []string{"ro", "rbind"}}}, nil
	}
	options := []string{"lowerdir=" + strings.Join(dirs, ":")}
	if userns.RunningInUserNS() {
		if needs, err := overlayutils.NeedsUserXAttr(s.dir); err == nil && needs {
			options = append(options, "userxattr")
		}
	}
	if _, err := os.Stat("/sys/module/overlay/parameters/index"); err == nil {
		options = append(options, "index=off")
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}}, nil
}

// Prepare implements [snapshots.Snapshotter]. It always fails: a copy cannot be
// written to.
func (s *readSnapshots) Prepare(context.Context, string, string, ...snapshots.Opt) ([]mount.Mount, error) {
	return nil, ErrReading
}

// Commit implements [snapshots.Snapshotter].
func (s *readSnapshots) Commit(context.Context, string, string, ...snapshots.Opt) error {
	return ErrReading
}

// Remove implements [snapshots.Snapshotter], in the copy. It removes views only.
func (s *readSnapshots) Remove(ctx context.Context, key string) error {
	return s.ms.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, kind, err := storage.Remove(ctx, key)
		if err == nil && kind != snapshots.KindView {
			err = fmt.Errorf("remove snapshot %s: %w", key, errdefs.ErrFailedPrecondition)
		}
		return err
	})
}

// Walk implements [snapshots.Snapshotter].
func (s *readSnapshots) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	return s.ms.WithTransaction(ctx, false, func(ctx context.Context) error {
		return storage.WalkInfo(ctx, fn, filters...)
	})
}

// Close implements [snapshots.Snapshotter].
func (s *readSnapshots) Close() error { return s.ms.Close() }
