package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/cleanup"
)

// readersPause is how long a finished command waits for readers before it
// leaves the collection to the next command.
const readersPause = 2 * time.Second

// collectSoon collects garbage, unless readers keep it waiting for longer than
// [readersPause].
func (s *stores) collectSoon(ctx context.Context) error {
	ctx, cancel := cleanup.Context(ctx, readersPause)
	defer cancel()
	err := s.collect(ctx, false)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// collectNow collects garbage, however long it has to wait for readers. It tells
// the user that it waits.
func (s *stores) collectNow(ctx context.Context) error { return s.collect(ctx, true) }

// collect removes what nothing refers to, as soon as nobody reads. It is the only
// function of this package that does. An engine that was opened for reading is a
// copy, and nothing is removed from it.
func (s *stores) collect(ctx context.Context, tell bool) error {
	if s.reading {
		return nil
	}
	var readers io.Closer
	err := s.reserve.during(func() (err error) {
		readers, err = lockReaders(ctx, s.root, unix.LOCK_EX, func() {
			if tell {
				s.notify("waiting for other veneer processes that read " + s.root)
			}
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	defer func() { _ = readers.Close() }() // Nothing was written.
	// Do not stop half way. That would be harmless once, but builds that are always
	// interrupted would never get to the second half.
	ctx = context.WithoutCancel(ctx)
	if s.lost.Swap(false) {
		s.dropBlob(ctx)
	}
	err = s.reserve.during(func() error {
		_, err := s.db.GarbageCollect(ctx)
		return err
	})
	s.mu.Lock()
	err = errors.Join(append([]error{err}, s.notRemoved...)...)
	s.notRemoved = nil
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	return nil
}

func (s *stores) cannotRemove(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notRemoved = append(s.notRemoved, err)
}

// collectAll also removes what an earlier collection failed to remove or did not
// get to, and what a killed process wrote before the metadata store knew of it.
// That store looks through a snapshotter only after it has dropped one of its
// snapshots, and through the blobs and ingests on disk only after it has dropped
// a blob. So this makes a snapshot and a blob for it to drop. If the disk is too
// full for that, the rest is still collected.
func (s *stores) collectAll(ctx context.Context) error {
	name := "veneer-collect-" + rand.Text()
	for _, sn := range s.db.Snapshotters() {
		_ = s.reserve.during(func() error {
			_, err := sn.Prepare(ctx, name, "")
			return err
		})
	}
	s.dropBlob(ctx)
	return s.collectNow(ctx)
}

// dropBlob makes a blob for metadata to drop in the collection that follows, which
// then removes all blobs and ingests on disk that metadata does not know.
func (s *stores) dropBlob(ctx context.Context) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return
	}
	ctx = namespaces.WithNamespace(context.Background(), ns) //nolint:contextcheck // without a lease, which would keep the blob
	name := "veneer-collect-" + rand.Text()
	_ = s.reserve.during(func() error {
		data := []byte(name)
		desc := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
		return cstore.WriteBlob(ctx, s.db.ContentStore(), name, bytes.NewReader(data), desc)
	})
}
