package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
}

// openPending makes the temporary file beside the named one.
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
	temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // as the umask has it, like any output
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return &pendingFile{name: name, f: f, whole: true}, nil
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
	if cerr := p.f.Close(); err == nil {
		err = cerr
	}
	temp := p.f.Name()
	p.f = nil
	if !p.whole {
		return p.wrap(err)
	}
	if err == nil {
		err = os.Rename(temp, p.name)
	}
	if err != nil {
		return p.wrap(errors.Join(err, os.Remove(temp)))
	}
	return p.wrap(syncDir(filepath.Dir(p.name)))
}

func (p *pendingFile) wrap(err error) error {
	if err != nil {
		return fmt.Errorf("write %s: %w", p.name, err)
	}
	return nil
}

// syncDir makes the names in a directory survive a power failure. A directory
// that may be written but not read cannot be synced.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// discard removes the temporary file unless it was committed, or failed to be.
func (p *pendingFile) discard() {
	if p != nil && p.f != nil && p.f.Close() == nil && p.whole {
		_ = os.Remove(p.f.Name())
	}
}

// writeFile replaces a file with data that is at hand.
func writeFile(name string, data []byte) error {
	p, err := openPending(name)
	if err != nil {
		return err
	}
	return p.commit(data)
}
