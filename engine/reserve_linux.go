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
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/durable"
)

const (
	// reserveSize is far more than removing things takes. For each removal a
	// database writes some new pages before it frees the old ones, and the file
	// system writes some blocks of its own.
	reserveSize = 1 << 20
	// reserveShare: the reserve takes up at most this fraction of the free space,
	// one eighth. The rest is for images.
	reserveShare = 8
)

// reserve is a file that takes up a little space on the embedded engine's disk.
// Removing things writes to databases, so on a full disk nothing could be removed.
// Then the reserve is removed to make room for that.
type reserve struct {
	path string
	mu   sync.Mutex
}

// fill makes the file, unless it exists or the disk is nearly full. It ignores
// errors: a missing reserve matters only when it is needed, and giveUp looks then.
// It syncs nothing: a file that a power failure damaged is made again.
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

// during calls do, which frees space in the end. If do fails because the disk is
// full, during gives up the reserve and calls do once more.
func (r *reserve) during(do func() error) error {
	err := do()
	if !isFull(err) || !r.giveUp() {
		return err
	}
	return do()
}

// giveUp removes the file, and reports whether it existed. It syncs the directory:
// a journaling file system reuses blocks only after their release is committed.
func (r *reserve) giveUp() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return os.Remove(r.path) == nil && durable.SyncDir(filepath.Dir(r.path)) == nil
}

// isFull reports whether an error means that the disk is full. It looks at the text
// too, since bolt does not wrap the error when it cannot grow its file.
func isFull(err error) bool {
	return err != nil && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(err.Error(), unix.ENOSPC.Error()) || strings.Contains(err.Error(), unix.EDQUOT.Error()))
}

// removingSnapshots is a snapshotter that can remove even on a full disk.
type removingSnapshots struct {
	snapshots.Snapshotter
	*reserve
}

// Remove implements [snapshots.Snapshotter].
func (s removingSnapshots) Remove(ctx context.Context, key string) error {
	return s.during(func() error { return s.Snapshotter.Remove(ctx, key) })
}

// removingContent is a content store that can remove even on a full disk. It calls
// lost when a blob may have been written that metadata does not know.
type removingContent struct {
	cstore.Store
	*reserve
	lost func()
}

// Writer implements [cstore.Ingester]. Metadata begins the ingest on the disk
// before it has written that there is one.
func (s removingContent) Writer(ctx context.Context, opts ...cstore.WriterOpt) (cstore.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	if err != nil {
		if !errdefs.IsAlreadyExists(err) {
			s.lost()
		}
		return nil, err
	}
	return losingWriter{w, s.lost}, nil
}

// losingWriter calls lost when a blob may be there that metadata does not know.
type losingWriter struct {
	cstore.Writer
	lost func()
}

// Commit implements [cstore.Writer]. Metadata gives the blob its place on the disk
// before it has written that there is one.
func (w losingWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...cstore.Opt) error {
	err := w.Writer.Commit(ctx, size, expected, opts...)
	if err != nil && !errdefs.IsAlreadyExists(err) {
		w.lost()
	}
	return err
}

// Delete implements [cstore.Manager].
func (s removingContent) Delete(ctx context.Context, dgst digest.Digest) error {
	return s.during(func() error { return s.Store.Delete(ctx, dgst) })
}

// Abort implements [cstore.IngestManager].
func (s removingContent) Abort(ctx context.Context, ref string) error {
	return s.during(func() error { return s.Store.Abort(ctx, ref) })
}
