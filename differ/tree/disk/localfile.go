package disk

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/eintr"
)

// localFile is an open regular file of this host. It uses the descriptor directly,
// since the Go runtime's poller is of no use for regular files.
type localFile struct {
	fd   int
	dir  *localDir // the directory that name is in; nil: name is a path
	name string
	// opened is the file's stamp at opening, until the first read.
	opened tree.Stamp
	size   int64
	// uid, gid and mode are those at opening.
	uid, gid, mode uint32
}

var _ tree.Random = (*localFile)(nil)

func (f *localFile) path() string {
	if f.dir == nil {
		return f.name
	}
	return f.dir.path(f.name)
}

// Read implements io.Reader.
func (f *localFile) Read(p []byte) (int, error) {
	f.opened = tree.Stamp{}
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, &os.PathError{Op: "read", Path: f.path(), Err: err}
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// ReadAt implements [tree.Random].
func (f *localFile) ReadAt(p []byte, off int64) (n int, _ error) {
	for n < len(p) {
		k, err := eintr.Retry(func() (int, error) { return unix.Pread(f.fd, p[n:], off+int64(n)) })
		if err != nil {
			return n, &os.PathError{Op: "read", Path: f.path(), Err: err}
		}
		if k == 0 {
			return n, io.EOF
		}
		n += k
	}
	return n, nil
}

// Size implements [tree.Random].
func (f *localFile) Size() int64 { return f.size }

// Close implements io.Closer.
func (f *localFile) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	return unix.Close(fd)
}

// Fd returns the descriptor, which stays the file's. See [filecache.Cache.Settle].
func (f *localFile) Fd() uintptr { return uintptr(f.fd) }

// Access returns the owner, group and mode at opening. See [filecache.Cache.Settle].
func (f *localFile) Access() (uid, gid, mode uint32) { return f.uid, f.gid, f.mode }

// look checks that a descriptor is that of a regular file, and notes how it is.
func (f *localFile) look(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: f.path(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("read %s: it %w any more", f.path(), tree.ErrNotRegular)
	}
	f.opened, f.size = stampOf(&st), st.Size
	f.uid, f.gid, f.mode = st.Uid, st.Gid, st.Mode
	return nil
}

// Stamp implements [tree.File].
func (f *localFile) Stamp() (tree.Stamp, error) {
	if f.opened != (tree.Stamp{}) {
		return f.opened, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return tree.Stamp{}, &os.PathError{Op: "stat", Path: f.path(), Err: err}
	}
	return stampOf(&st), nil
}
