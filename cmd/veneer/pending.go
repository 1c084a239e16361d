package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/durable"
	"github.com/veneer-build/veneer/internal/reopen"
	"github.com/veneer-build/veneer/internal/tempfile"
)

// pendingFile replaces a file as a whole. A reader sees the old content or the new
// content, even after a power failure. It is opened before the work that makes its
// content, so that a name that cannot be written fails before anything is done.
// Pipes and devices are written to directly.
type pendingFile struct {
	name string
	f    *os.File // nil once it is committed
	// whole: f is a temporary file in dir, and gets the name there when it is
	// committed. Else f is a pipe or a device.
	whole bool
	dir   *os.File // the directory, even if its name is given to another one
	// temp is the temporary file's name in dir. It is empty while it has none.
	temp string
}

// openPending makes a temporary file in the directory of the named file. The file
// has no name if the file system allows that, so that a killed process leaves
// nothing.
func openPending(ctx context.Context, name string) (_ *pendingFile, err error) {
	p := &pendingFile{name: name}
	there, info, err := reopen.Look(name, 0)
	if err == nil {
		defer there.Close() // only read
	}
	switch {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("write %s: is a directory", name)
	case err == nil && !info.Mode().IsRegular():
		// Opens what was looked at, even if the name belongs to another file now.
		p.f, err = openSpecial(ctx, there, info)
		if err != nil {
			return nil, p.wrap(err)
		}
		return p, nil
	}
	p.whole = true
	if p.dir, _, err = reopen.Look(filepath.Dir(name), unix.O_DIRECTORY); err != nil {
		return nil, p.wrap(err)
	}
	// The mode is what the umask has for any output.
	temp := p.tempName()
	f, named, err := tempfile.Create(reopen.Path(p.dir), temp, p.name, 0o666)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = os.NewSyscallError("openat", at.Err) // people know the directory by another name
		}
		return nil, errors.Join(p.wrap(err), p.dir.Close())
	}
	p.f = f
	if named {
		p.temp = temp
	}
	return p, nil
}

// openSpecial opens what is no regular file to write to it. To open a pipe that
// nobody reads from waits for a reader, deaf to signals, unless it is not to
// wait: then it is ENXIO.
func openSpecial(ctx context.Context, there *os.File, info os.FileInfo) (*os.File, error) {
	if info.Mode()&os.ModeNamedPipe == 0 {
		return reopen.Open(there, os.O_WRONLY)
	}
	for {
		f, err := reopen.Open(there, os.O_WRONLY|unix.O_NONBLOCK)
		if !errors.Is(err, unix.ENXIO) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("nobody reads from the pipe: %w", ctx.Err())
		case <-time.After(pipePoll):
		}
	}
}

// pipePoll is how often a pipe is looked at for a reader.
const pipePoll = 50 * time.Millisecond

func (p *pendingFile) tempName() string { return "." + filepath.Base(p.name) + "." + rand.Text() }

// link gives the file a name, if it has none: its final name if that is free, else
// a temporary one. A link cannot replace a file.
func (p *pendingFile) link() error {
	if p.temp != "" {
		return nil
	}
	for _, base := range []string{filepath.Base(p.name), p.tempName()} {
		err := tempfile.Link(p.f, filepath.Join(reopen.Path(p.dir), base))
		if err == nil {
			p.temp = base
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return unix.EEXIST
}

// Write implements io.Writer.
func (p *pendingFile) Write(data []byte) (int, error) {
	n, err := p.f.Write(data)
	if err != nil {
		return n, p.wrap(err)
	}
	return n, nil
}

// commit appends data to the file and puts it in place.
func (p *pendingFile) commit(data []byte) error {
	_, err := p.f.Write(data)
	if err == nil && p.whole {
		err = p.f.Sync()
	}
	if err == nil && p.whole {
		err = p.link()
	}
	if cerr := p.f.Close(); err == nil {
		err = cerr
	}
	p.f = nil
	if !p.whole {
		return p.wrap(err)
	}
	dir := p.dir
	defer dir.Close() // only read
	if base := filepath.Base(p.name); err == nil && p.temp != base {
		dir := int(p.dir.Fd())
		err = os.NewSyscallError("renameat", unix.Renameat(dir, p.temp, dir, base))
	}
	if err != nil {
		return p.wrap(errors.Join(err, p.removeTemp()))
	}
	return p.wrap(durable.SyncDir(reopen.Path(p.dir)))
}

// wrap names the file as the user does. A write's own error has the name of what the
// file is until it is in place, or the same name again.
func (p *pendingFile) wrap(err error) error {
	if path, ok := err.(*fs.PathError); ok && path.Op == "write" { //nolint:errorlint // just the error itself, so that no context is lost
		err = path.Err
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", p.name, err)
	}
	return nil
}

// discard removes the temporary file. After commit it does nothing.
func (p *pendingFile) discard() {
	if p == nil || p.f == nil {
		return
	}
	if p.f.Close() == nil && p.whole {
		_ = p.removeTemp()
	}
	if p.whole {
		_ = p.dir.Close()
	}
}

func (p *pendingFile) removeTemp() error {
	if p.temp == "" {
		return nil
	}
	return os.NewSyscallError("unlinkat", unix.Unlinkat(int(p.dir.Fd()), p.temp, 0))
}

// writeFile replaces a file's content with data.
func writeFile(ctx context.Context, name string, data []byte) error {
	p, err := openPending(ctx, name)
	if err != nil {
		return err
	}
	return p.commit(data)
}
