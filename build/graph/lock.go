package graph

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/fault"
)

// lockPoll is how often a step is tried that another build is doing.
const lockPoll = 100 * time.Millisecond

// locksName is the directory of the locks.
const locksName = "locks"

// Lock keeps other processes of this host from doing the step at the same time. A
// caller that waited, of which waiting is told once, finds in the cache what they
// made. The kernel gives up the lock of a process that is killed.
//
// Locks cannot wait for each other in a circle: who has one waits for others only
// while it does its step, and so only for those of steps that this one's key is
// made of. Without a directory to lock in, the step may be done twice, which does no
// harm. The error is ctx's cause.
func (c *Cache) Lock(ctx context.Context, key Key, waiting func()) (unlock func(), err error) {
	none := func() {}
	path := filepath.Join(c.Dir, locksName, digest.Digest(key).Encoded())
	if c.Dir == "" {
		return none, nil
	}
	_ = os.MkdirAll(filepath.Dir(path), 0o700) // Without it the lock cannot be made.
	for told := false; ; {
		f, wait := tryLock(path)
		if !wait {
			return func() {
				if f != nil {
					_ = os.Remove(path) // The next one makes it again.
					_ = f.Close()       // Nothing was written.
				}
			}, nil
		}
		if !told {
			told = true
			waiting()
		}
		select {
		case <-ctx.Done():
			return none, fault.Ended(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// SweepLocks removes the locks that killed processes left. dir is [Cache].Dir.
func SweepLocks(dir string) error {
	all, err := filepath.Glob(filepath.Join(dir, locksName, "*"))
	if err != nil {
		return fmt.Errorf("look for locks of steps: %w", err)
	}
	for _, path := range all {
		if f, _ := tryLock(path); f != nil {
			_ = os.Remove(path) // The next one makes it again.
			_ = f.Close()       // Nothing was written.
		}
	}
	return nil
}

// tryLock returns the locked file, or that another process has it, which is worth
// waiting for. Both are unset where nothing can be locked. The file may have been
// removed by its holder between opening and locking: then it locks nothing, and the
// next one counts.
func tryLock(path string) (f *os.File, wait bool) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, false
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		ours, oerr := f.Stat()
		now, nerr := os.Stat(path)
		if oerr == nil && nerr == nil && os.SameFile(ours, now) {
			return f, false
		}
	}
	_ = f.Close() // Nothing was written.
	return nil, err == nil || errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR)
}

// use remembers that a step was used now, for [Entries]. Where that cannot be, the
// step counts as used when it was made.
func (c *Cache) use(id string) {
	if c.Dir == "" {
		return
	}
	path, now := usedFile(c.Dir, id), time.Now()
	if os.Chtimes(path, now, now) == nil || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return
	}
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600); err == nil {
		_ = f.Close() // It is empty.
	}
}

// usedFile is a file whose time is when a step was last used.
func usedFile(dir, lease string) string { return filepath.Join(dir, "used", lease) }
