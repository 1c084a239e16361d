package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/durable"
)

const (
	// reserveSize is what removing things takes at most by far: databases write
	// some pages anew for each removal before the old ones are free, and file
	// systems some blocks of their own.
	reserveSize = 1 << 20
	// reserveShare is how much of the free space the reserve may be: the last of
	// it is for images.
	reserveShare = 8
)

// reserve is a file that takes up a little of the embedded engine's disk. What
// is left of a command that filled the disk could not be removed otherwise,
// since that writes to databases: the file is given up for it.
type reserve struct {
	path string
	mu   sync.Mutex
}

// fill makes the file, unless it is there or the disk is nearly full. That
// there is none is found out when it would be needed, so errors are left out;
// and what a power loss leaves of it is made anew, so nothing is synced.
func (r *reserve) fill() {
	if info, err := os.Lstat(r.path); err == nil && info.Size() == reserveSize {
		return
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(r.path), &disk); err != nil || disk.Bavail < reserveShare*reserveSize/uint64(max(1, disk.Bsize)) {
		return
	}
	_ = os.Remove(r.path)
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return
	}
	if err := errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, reserveSize), f.Close()); err != nil {
		_ = os.Remove(r.path)
	}
}

// during does something that frees space in the end, and once more without the
// reserve if there was too little space for it.
func (r *reserve) during(do func() error) error {
	err := do()
	if !isFull(err) || !r.giveUp() {
		return err
	}
	return do()
}

// giveUp removes the file and reports whether it was there. The directory is
// synced, since a journal gives blocks away only when that they are free is in it.
func (r *reserve) giveUp() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return os.Remove(r.path) == nil && durable.SyncDir(filepath.Dir(r.path)) == nil
}

// isFull: bolt has but words for it when it cannot make its file larger.
func isFull(err error) bool {
	return err != nil && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(err.Error(), unix.ENOSPC.Error()) || strings.Contains(err.Error(), unix.EDQUOT.Error()))
}

// removingSnapshots is a snapshotter that removes on a full disk, too.
type removingSnapshots struct {
	snapshots.Snapshotter
	*reserve
}

// Remove implements [snapshots.Snapshotter].
func (s removingSnapshots) Remove(ctx context.Context, key string) error {
	return s.during(func() error { return s.Snapshotter.Remove(ctx, key) })
}

// removingContent is a content store that removes on a full disk, too.
type removingContent struct {
	cstore.Store
	*reserve
}

// Delete implements [cstore.Manager].
func (s removingContent) Delete(ctx context.Context, dgst digest.Digest) error {
	return s.during(func() error { return s.Store.Delete(ctx, dgst) })
}

// Abort implements [cstore.IngestManager].
func (s removingContent) Abort(ctx context.Context, ref string) error {
	return s.during(func() error { return s.Store.Abort(ctx, ref) })
}
