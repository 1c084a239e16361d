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
	// metaSize bounds bolt's two meta pages, of which each commit writes one at its
	// very end: pages are as large as the processor's, 64 KiB at most.
	metaSize = 2 * 64 << 10
	// copyPause is how long a commit that was met may take to be followed by the
	// next one.
	copyPause = 5 * time.Millisecond
)

// copyDatabase copies a bolt database into memory while another process may
// write to it, as it is between two of its commits. A commit writes pages that
// the one before it does not use, and then the meta page that makes them count.
// So if the meta pages are the same before and after, all that they lead to is
// in the copy. One that is not there is an empty one. The size is that of the
// notes on images and snapshots, some kilobytes for each.
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

// metaPages reads the beginning of a database. More than the meta pages is read
// where pages are small; that differs more often, and so is copied once more.
func metaPages(f *os.File) ([]byte, error) {
	size := min(metaSize, 2*os.Getpagesize())
	p := make([]byte, size)
	n, err := f.ReadAt(p, 0)
	if err == io.EOF {
		err = nil
	}
	return p[:n], err
}

// inMemory are bolt's options for a copy, which is opened once.
func inMemory(file *os.File) *bolt.Options {
	o := *bolt.DefaultOptions
	o.Timeout = boltTimeout
	o.NoSync = true // it ends with the process
	o.OpenFile = func(string, int, os.FileMode) (*os.File, error) { return file, nil }
	return &o
}
