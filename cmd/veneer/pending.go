package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/durable"
)

// pendingFile replaces a file as a whole: whoever reads it sees the old content
// or the new one, also after a power failure. It is opened before the work
// whose result it is for, so that a name that cannot be written is known before
// anything is done. What is no regular file, a pipe or a device, is written as
// it is.
type pendingFile struct {
	name string
	f    *os.File // nil once it is committed
	// whole: f is a temporary file, which is to get the name.
	whole bool
	// temp is the temporary file's name, if it has one by now.
	temp string
}

// openPending makes a temporary file in the named one's directory. Where the
// file system can, it has no name, so that a killed process leaves nothing.
func openPending(name string) (*pendingFile, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("write %s: is a directory", name)
	case err == nil && !info.Mode().IsRegular():
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		return &pendingFile{name: name, f: f}, nil
	}
	p := &pendingFile{name: name, whole: true}
	p.f, err = os.OpenFile(filepath.Dir(name), os.O_WRONLY|unix.O_TMPFILE, 0o666) //nolint:gosec // as the umask has it, like any output
	if err != nil {
		p.temp = p.tempName()
		p.f, err = os.OpenFile(p.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // as the umask has it, like any output
	}
	return p, p.wrap(err)
}

func (p *pendingFile) tempName() string {
	return filepath.Join(filepath.Dir(p.name), "."+filepath.Base(p.name)+"."+rand.Text())
}

// link gives the file a name, if it has none: the one that it is for where
// that is free, else a temporary one, since a link replaces nothing.
func (p *pendingFile) link() error {
	if p.temp != "" {
		return nil
	}
	from := fmt.Sprintf("/proc/self/fd/%d", p.f.Fd())
	for _, name := range []string{p.name, p.tempName()} {
		err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
		if err == nil {
			p.temp = name
			return nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return os.NewSyscallError("linkat", err)
		}
	}
	return unix.EEXIST
}

// Write implements io.Writer.
func (p *pendingFile) Write(data []byte) (int, error) {
	n, err := p.f.Write(data)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", p.name, err)
	}
	return n, nil
}

// commit puts the file in place, with the data at its end.
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
	if err == nil && p.temp != p.name {
		err = os.Rename(p.temp, p.name)
	}
	if err != nil {
		return p.wrap(errors.Join(err, p.removeTemp()))
	}
	return p.wrap(durable.SyncDir(filepath.Dir(p.name)))
}

func (p *pendingFile) wrap(err error) error {
	if err != nil {
		return fmt.Errorf("write %s: %w", p.name, err)
	}
	return nil
}

// discard removes the temporary file unless it was committed, or failed to be.
func (p *pendingFile) discard() {
	if p != nil && p.f != nil && p.f.Close() == nil && p.whole {
		_ = p.removeTemp()
	}
}

func (p *pendingFile) removeTemp() error {
	if p.temp == "" {
		return nil
	}
	return os.Remove(p.temp)
}

// writeFile replaces a file with data that is at hand.
func writeFile(name string, data []byte) error {
	p, err := openPending(name)
	if err != nil {
		return err
	}
	return p.commit(data)
}
