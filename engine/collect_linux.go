package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/cleanup"
)

// readersPause is how long a command that is done waits for others that read
// before it leaves the collection to the next one.
const readersPause = 2 * time.Second

// collectSoon is collect, for who has something else to do: it is left out while
// others read for longer.
func (s *stores) collectSoon(ctx context.Context) error {
	ctx, cancel := cleanup.Context(ctx, readersPause)
	defer cancel()
	err := s.collect(ctx, false)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// collectNow is collect, for who asked for that.
func (s *stores) collectNow(ctx context.Context) error { return s.collect(ctx, true) }

// collect removes what nothing refers to, when nobody reads; nothing else does
// here. Of copies nothing is removed.
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
	// Half a collection would be harmless, but its second half could be kept
	// waiting for ever by builds that are always interrupted.
	ctx = context.WithoutCancel(ctx)
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

// collectAll is collect, with what an earlier collection could not remove, or
// was killed before it had: metadata looks through a snapshotter only when it
// has dropped one of its snapshots, so it is given one to drop.
func (s *stores) collectAll(ctx context.Context) error {
	for _, sn := range s.db.Snapshotters() {
		// On a disk that is too full for it, the rest is collected all the same.
		_ = s.reserve.during(func() error {
			_, err := sn.Prepare(ctx, "veneer-collect-"+rand.Text(), "")
			return err
		})
	}
	return s.collectNow(ctx)
}
