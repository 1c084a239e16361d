package filecache

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/eintr"
)

const (
	// writtenBack is longer than the kernel leaves changed pages in memory, 30 s
	// and the 5 s between two looks (vm.dirty_expire_centisecs,
	// vm.dirty_writeback_centisecs). To flush a file that is younger means to wait
	// for the disk.
	writtenBack = time.Minute
	// fewYoung is for how many young files a build waits one by one. A tree of
	// 15,000 that was just copied takes 0.5 ms each that way, and 0.2 s in all
	// by one syncfs(2).
	fewYoung = 64
	// syncPatience is how long a build waits for that one, which has to write all
	// that others left too. What is young is not remembered then.
	syncPatience = 5 * time.Second
)

// Settle prepares a file whose content is to be read and remembered, after its
// entry was listed, and reports whether it may be. If so, and the stamp after
// the reading is the entry's, a file that still has that stamp has that content:
//
//   - A store through a shared mapping needs a page that is writable. To make one
//     so is a fault, in which the file system sets the file's times before the
//     store is done.
//   - Here all changed pages are written back, and to do so the kernel makes each
//     read-only in all mappings (folio_clear_dirty_for_io). So what was stored
//     until now is there to be read, and the next store is a fault. For this the
//     writing has to be waited for: sync_file_range(2) skips pages that are in
//     use unless it is told to wait both before and after.
//   - The times that such a fault sets are not those of the entry, which are
//     older by raceMargin than this call. Nor are those of any other change.
//
// It asks for no fdatasync(2): nothing need be on the disk. After a crash the
// file system is another mounting (see [Trust]).
//
// What this does not see is a device that writes into a page later on, which a
// process lent to it before (O_DIRECT from a file system that answers slowly
// into a shared mapping), and a fault that takes more than raceMargin between
// the two steps above.
func (m *Cache) Settle(f tree.File, e *tree.Entry) bool {
	if m == nil || m.attributesOnly || !m.covers(e) {
		return false
	}
	local, ok := f.(interface{ Fd() uintptr })
	if !ok {
		return false
	}
	now := m.now()
	changed := max(e.Stamp.MTime, e.Stamp.CTime)
	if changed > now.Add(-raceMargin).UnixNano() {
		return false
	}
	if m.sync.covers(changed) {
		return true
	}
	if changed > now.Add(-writtenBack).UnixNano() && m.sync.young.Add(1) > fewYoung {
		m.sync.all(int(local.Fd()), m.now)
		return m.sync.covers(changed)
	}
	const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	_, err := eintr.Retry(func() (int, error) { return 0, unix.SyncFileRange(int(local.Fd()), 0, 0, wait) })
	return err == nil
}

// syncing is one build's flush of a whole file system.
type syncing struct {
	young atomic.Int64 // files that had to be waited for
	once  sync.Once
	began atomic.Int64 // when it began, in nanoseconds, if it is done
}

// covers reports whether a file was flushed that had not changed since.
func (s *syncing) covers(changed int64) bool {
	began := s.began.Load()
	return began > 0 && changed <= began-int64(raceMargin)
}

// all flushes the file system that an open file is of, in the first call; others
// wait for it.
func (s *syncing) all(fd int, now func() time.Time) {
	s.once.Do(func() {
		// Of its own, since the call cannot be ended, and the file may be closed.
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return
		}
		began := now().UnixNano()
		done := make(chan error, 1)
		go func() {
			err := unix.Syncfs(own)
			_ = unix.Close(own)
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				s.began.Store(began)
			}
		case <-time.After(syncPatience):
		}
	})
}
