package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	// metaSize is the most that bolt's two meta pages can take up. Its pages are as
	// large as the processor's: 64 KiB at most.
	metaSize = 2 * 64 << 10
	// copyPause is the pause before the copy is tried again, after another process
	// wrote to the database meanwhile.
	copyPause = 5 * time.Millisecond
)

// copyDatabase copies a bolt database into memory, as it is between two commits,
// while another process may write to it.
//
// A commit first writes pages that the last commit does not use. Its last write
// is the meta page that refers to them. So if the meta pages are the same before
// and after copying, the copy holds all that they refer to. A database that does
// not exist is copied as an empty one. Databases hold some kilobytes for each
// image and snapshot.
func copyDatabase(ctx context.Context, path string) (_ *os.File, err error) {
	fd, err := unix.MemfdCreate("veneer-database", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	to := os.NewFile(uintptr(fd), path)
	defer func() {
		if err != nil {
			_ = to.Close()
		}
	}()
	from, err := os.Open(path)
	if notExist(err) {
		return to, nil
	}
	if err != nil {
		return nil, err
	}
	defer from.Close() // only read
	for {
		same, err := copyBetween(from, to)
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", path, err)
		}
		if same {
			return to, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("copy %s: %w", path, ctx.Err())
		case <-time.After(copyPause):
		}
	}
}

// copyBetween copies a database and reports whether no commit was made meanwhile.
func copyBetween(from, to *os.File) (same bool, err error) {
	before, err := metaPages(from)
	if err != nil {
		return false, err
	}
	if err := to.Truncate(0); err != nil {
		return false, err
	}
	info, err := from.Stat()
	if err != nil {
		return false, err
	}
	if _, err := io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(from, 0, info.Size())); err != nil {
		return false, err
	}
	after, err := metaPages(from)
	return bytes.Equal(before, after), err
}

// metaPages reads the meta pages at the beginning of a database. If pages are
// smaller than assumed, it reads more than them. That only means that a copy is
// repeated more often than necessary.
func metaPages(f *os.File) ([]byte, error) {
	size := min(metaSize, 2*os.Getpagesize())
	p := make([]byte, size)
	n, err := f.ReadAt(p, 0)
	if err == io.EOF {
		err = nil
	}
	return p[:n], err
}

// inMemory are bolt's options for opening a copy. A copy can be opened once.
func inMemory(file *os.File) *bolt.Options {
	o := *bolt.DefaultOptions
	o.Timeout = boltTimeout
	o.NoSync = true // it ends with the process
	o.OpenFile = func(string, int, os.FileMode) (*os.File, error) { return file, nil }
	return &o
}
