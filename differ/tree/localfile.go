package tree

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// localFile is an open regular file of this host. It is a bare descriptor,
// since the runtime's poller has nothing to do for regular files.
type localFile struct {
	fd   int
	name string
}

// Read implements io.Reader.
func (f *localFile) Read(p []byte) (int, error) {
	n, err := retry(func() (int, error) { return unix.Read(f.fd, p) })
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: f.name, Err: err}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close implements io.Closer.
func (f *localFile) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	return unix.Close(fd)
}

// Stamp implements [File].
func (f *localFile) Stamp() (Stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return Stamp{}, &os.PathError{Op: "stat", Path: f.name, Err: err}
	}
	return stampOf(&st), nil
}
