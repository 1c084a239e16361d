package snapshot

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// syncFS writes back the file system that dir is on, and reports what failed.
func syncFS(dir string) error {
	s, err := newSyncer(dir)
	if err != nil {
		return err
	}
	return errors.Join(s.end(), s.Close())
}

// syncer writes back a file system, all of it at the end and what is there on
// the way: the end then has less to wait for, and so has everybody else whose
// sync has to wait for the journal. It is opened before the first write, since
// a write that failed is told to whom had the file system open then.
type syncer struct {
	dir     *os.File
	running chan error // one of what is on the way; nil: none
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

// begin starts to write back what is there by now, unless that is being done.
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

// end writes back everything.
func (s *syncer) end() error {
	if err := s.wait(); err != nil {
		return err
	}
	return s.sync()
}

// wait returns when nothing is on the way any more.
func (s *syncer) wait() error {
	if s.running == nil {
		return nil
	}
	err := <-s.running
	s.running = nil
	return err
}

// Close gives up what is left.
func (s *syncer) Close() error { return errors.Join(s.wait(), s.dir.Close()) }

// syncEach is a reader that has what was made of its bytes written back now and then.
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
