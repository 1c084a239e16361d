package reopen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/eintr"
)

// Read opens a file that the user named, to read it. It is an [os.File], or a pipe:
// of that it waits for the other end, but no longer than ctx, with which a read of it
// ends, too.
func Read(ctx context.Context, name string) (io.ReadCloser, error) {
	at, info, err := Look(name, 0)
	if err != nil {
		return nil, err
	}
	if info.Mode().Type() != fs.ModeNamedPipe {
		f, err := Open(at, os.O_RDONLY|unix.O_NONBLOCK)
		if err = errors.Join(err, at.Close()); err != nil {
			return nil, err
		}
		return f, nil
	}
	type result struct {
		f   *os.File
		err error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := Open(at, os.O_RDONLY)
		_ = at.Close() // only read
		opened <- result{f, err}
	}()
	select {
	case o := <-opened:
		if o.err != nil {
			return nil, o.err
		}
		return &pipe{File: o.f, ctx: ctx, stop: context.AfterFunc(ctx, func() { _ = o.f.Close() })}, nil
	case <-ctx.Done():
		go func() { // Who writes later is not to take this for a reader.
			if o := <-opened; o.f != nil {
				_ = o.f.Close()
			}
		}()
		return nil, fmt.Errorf("wait for somebody to write into %s: %w", name, context.Cause(ctx))
	}
}

// pipe is closed when ctx ends, which ends a read of it.
type pipe struct {
	*os.File
	ctx  context.Context //nolint:containedctx // its cause tells why a read failed
	stop func() bool
}

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.File.Read(b)
	if err != nil && p.ctx.Err() != nil {
		err = context.Cause(p.ctx)
	}
	return n, err
}

func (p *pipe) Close() error {
	if !p.stop() {
		return nil // closed already
	}
	return p.File.Close()
}

// ErrEscapes is the error of [Beneath] for a name whose links lead out of the directory.
var ErrEscapes = errors.New("a link in it escapes from the directory")

// Beneath opens a regular file of a directory that may be a stranger's, to read it.
// Symbolic links are followed within the directory only: another file's content must
// not be shown.
func Beneath(dir, name string) (*os.File, error) {
	at, _, err := Look(dir, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer at.Close() // only read
	whole := filepath.Join(dir, name)
	fd, err := openBeneath(at, name)
	if errors.Is(err, unix.EXDEV) {
		return nil, fmt.Errorf("%s: %w", whole, ErrEscapes)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: whole, Err: err}
	}
	f := os.NewFile(uintptr(fd), whole)
	defer f.Close() // only read
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", whole)
	}
	if err != nil {
		return nil, err
	}
	return Open(f, os.O_RDONLY|unix.O_NONBLOCK)
}

// mostTries is how often a name is opened that the kernel cannot be sure of: it goes up,
// and meanwhile something is renamed or mounted, anywhere (openat2(2), EAGAIN).
const mostTries = 128

func openBeneath(at *os.File, name string) (fd int, err error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}
	for range mostTries {
		fd, err = eintr.Retry(func() (int, error) { return unix.Openat2(int(at.Fd()), name, &how) })
		if !errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	return fd, err
}
