package dockerfile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/snapshot"

	"github.com/veneer-build/veneer/internal/fault"
)

// cacheMounts is the directory of the caches of RUN --mount=type=cache, below the
// engine's root. Each cache has its files in "fs". "lock" is locked while the cache
// is used. "filled" is there once the cache has its first content.
const cacheMounts = "build/mounts"

// lockPoll is the time between two tries to lock a cache that another step uses
// alone.
const lockPoll = 100 * time.Millisecond

// cache mounts a directory that stays for later builds. Its content is not a part
// of any key.
func (m *mounting) cache(ctx context.Context, op *pb.Mount) (*run.Mount, error) {
	from := scratch()
	if op.Input >= 0 {
		from = m.inputs[op.Input]
	}
	sum := sha256.Sum256([]byte(path.Clean(op.CacheOpt.ID) + "\x00" + from.id))
	name := hex.EncodeToString(sum[:16])
	for i := 0; ; i++ {
		dir := filepath.Join(m.s.engine().Root, cacheMounts, fmt.Sprintf("%s-%d", name, i))
		lock, err := lockDir(ctx, dir, op.CacheOpt.Sharing)
		if err != nil {
			return nil, err
		}
		if lock == nil {
			continue // Private, and another step has it: take the next one.
		}
		m.ends = append(m.ends, lock.Close)
		now := time.Now()
		_ = os.Chtimes(lock.Name(), now, now) // When it was last used, for [CacheDirs].
		if err := m.first(ctx, dir, from, op.Selector); err != nil {
			return nil, fmt.Errorf("make cache %s: %w", op.CacheOpt.ID, err)
		}
		return &run.Mount{Source: bindMount(filepath.Join(dir, "fs"), op.Readonly), ReadOnly: op.Readonly}, nil
	}
}

// lockDir makes the directory and locks it, shared or for one step alone. It
// returns nil if the directory is to be private and another step has it.
func lockDir(ctx context.Context, dir string, sharing pb.CacheSharingOpt) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if sharing == pb.CacheSharingOpt_SHARED {
		how = unix.LOCK_SH
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(&os.PathError{Op: "lock", Path: f.Name(), Err: err}, f.Close())
		}
		if sharing == pb.CacheSharingOpt_PRIVATE {
			return nil, f.Close()
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fault.Ended(ctx), f.Close())
		case <-time.After(lockPoll):
		}
	}
}

// first fills a new cache with the content that the Dockerfile gives: a directory
// of another step, or nothing. It also sets mode and owner. If an earlier copy was
// interrupted, it copies again.
func (m *mounting) first(ctx context.Context, dir string, from *state, selector string) (err error) {
	mark, files := filepath.Join(dir, "filled"), filepath.Join(dir, "fs")
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	// Two that share it must not both fill it.
	once, err := lockDir(ctx, filepath.Join(dir, "first"), pb.CacheSharingOpt_LOCKED)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, once.Close()) }()
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	if err := os.RemoveAll(files); err != nil {
		return err
	}
	if err := os.Mkdir(files, 0o755); err != nil {
		return err
	}
	if from.source != nil {
		return errors.New("the build context cannot be the beginning of a cache")
	}
	if from.snapshot != "" {
		view, err := snapshot.OpenView(ctx, m.s.client().SnapshotService(m.s.engine().Snapshotter), from.snapshot)
		if err != nil {
			return err
		}
		at, err := fs.RootPath(view.Dir(), path.Join("/", selector))
		if err == nil {
			err = fs.CopyDir(files, at)
		}
		if err = errors.Join(err, view.Close()); err != nil {
			return err
		}
	}
	return os.WriteFile(mark, nil, 0o600)
}
