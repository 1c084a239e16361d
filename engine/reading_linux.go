package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// openReading opens the embedded engine's stores as they are now, even if another
// process holds the lock. It copies the databases, and reads blobs and layers in
// place. What the client changes, such as leases and views, changes in the copies
// only. The readers' lock keeps garbage collection from running meanwhile: it is
// the only thing that removes what can be read.
func openReading(ctx context.Context, o Options) (_ *Engine, err error) {
	if _, err := os.Stat(filepath.Join(o.Root, "meta.db")); err != nil {
		return nil, err
	}
	if err := checkFormat(o.Root); err != nil {
		return nil, err
	}
	// A collection is short, so the user is not told that this waits for one.
	lock, err := lockReaders(ctx, o.Root, unix.LOCK_SH, func() {})
	if err != nil {
		return nil, err
	}
	s := &stores{closers: []io.Closer{lock}, reserve: &reserve{}, reading: true}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if err := s.openCopies(ctx, o.Root); err != nil {
		return nil, err
	}
	if err := s.ensureNamespace(ctx, o.Namespace); err != nil {
		return nil, err
	}
	c, err := s.client(o.Namespace)
	if err != nil {
		return nil, err
	}
	return &Engine{
		Client: c, Mode: Embedded, Root: o.Root, Snapshotter: o.Snapshotter, Namespace: o.Namespace,
		stores: s, unpacker: o.Unpacker, notify: o.Notify,
	}, nil
}

// openCopies copies metadata's database first. The snapshotters' databases, which
// are copied later, then hold all that it refers to.
func (s *stores) openCopies(ctx context.Context, root string) error {
	meta := filepath.Join(root, "meta.db")
	file, err := copyDatabase(ctx, meta)
	if err != nil {
		return err
	}
	db, err := bolt.Open(meta, 0o600, inMemory(file))
	if err != nil {
		return errors.Join(fmt.Errorf("open copy of %s: %w", meta, err), file.Close())
	}
	s.closers = append(s.closers, db)
	s.snapshotters, s.broken = map[string]snapshots.Snapshotter{}, map[string]error{}
	for _, name := range snapshotterNames() {
		sn, err := copySnapshots(ctx, snapshotterRoot(root, name), name == "overlayfs")
		if err != nil {
			return err
		}
		s.snapshotters[name] = sn
		s.closers = append(s.closers, sn)
	}
	blobs, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		return fmt.Errorf("open content store: %w", err)
	}
	s.db = metadata.NewDB(db, readContent{blobs}, s.snapshotters)
	if err := s.db.Init(ctx); err != nil {
		return fmt.Errorf("prepare copy of %s: %w", meta, err)
	}
	return nil
}

// readContent is a content store that refuses changes. It is the real store, and
// may hold blobs that the copied database does not know.
type readContent struct{ cstore.Store }

// Writer implements [cstore.Ingester].
func (readContent) Writer(context.Context, ...cstore.WriterOpt) (cstore.Writer, error) {
	return nil, ErrReading
}

// Delete implements [cstore.Manager].
func (readContent) Delete(context.Context, digest.Digest) error { return ErrReading }

// Abort implements [cstore.IngestManager].
func (readContent) Abort(context.Context, string) error { return ErrReading }

// lockReaders takes the readers' lock of a root: shared by readers (unix.LOCK_SH),
// exclusive for garbage collection (unix.LOCK_EX). The lock ends when the returned
// file is closed. waiting is called once if the lock is taken.
func lockReaders(ctx context.Context, root string, how int, waiting func()) (_ io.Closer, err error) {
	f, err := os.OpenFile(filepath.Join(root, "readers"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		switch err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); {
		case err == nil:
			return f, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		if !told {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for other veneer processes on %s: %w", root, ctx.Err()), f.Close())
		case <-time.After(lockPoll):
		}
	}
}

// notExist reports whether a database has not been made yet.
func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
