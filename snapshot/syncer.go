package snapshot

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// syncFS syncs the file system that dir is on, and reports errors of earlier writes.
func syncFS(dir string) error {
	s, err := newSyncer(dir)
	if err != nil {
		return err
	}
	return errors.Join(s.end(), s.Close())
}

// syncer syncs a file system: at the end, and now and then before. Then the last sync
// takes less time, and so do the syncs of other processes, which wait for the same
// journal.
//
// It must be opened before the first write. The kernel reports a failed write only to
// processes that had a file of that file system open when it failed.
type syncer struct {
	dir     *os.File
	running chan error // gets the result of the sync that runs; nil: none runs
}

func newSyncer(dir string) (*syncer, error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0) // which tries again where a signal interrupts it
	if err != nil {
		return nil, err
	}
	return &syncer{dir: d}, nil
}

func (s *syncer) sync() error {
	if err := unix.Syncfs(int(s.dir.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: s.dir.Name(), Err: err}
	}
	return nil
}

// begin starts a sync, unless one is still running.
func (s *syncer) begin() error {
	select {
	case err := <-s.running:
		s.running = nil
		if err != nil {
			return err
		}
	default:
		if s.running != nil {
			return nil
		}
	}
	s.running = make(chan error, 1)
	go func(done chan<- error) { done <- s.sync() }(s.running)
	return nil
}

// end syncs everything that was written.
func (s *syncer) end() error {
	if err := s.wait(); err != nil {
		return err
	}
	return s.sync()
}

// wait waits for the sync that runs, if there is one.
func (s *syncer) wait() error {
	if s.running == nil {
		return nil
	}
	err := <-s.running
	s.running = nil
	return err
}

// Close waits for the sync that runs, and closes the directory.
func (s *syncer) Close() error { return errors.Join(s.wait(), s.dir.Close()) }

// syncEach is a reader that begins a sync after each size bytes.
type syncEach struct {
	io.Reader
	*syncer
	size, left int64
}

func (r *syncEach) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.left -= int64(n); r.left <= 0 {
		r.left = r.size
		if begun := r.begin(); begun != nil {
			return n, begun
		}
	}
	return n, err
}
