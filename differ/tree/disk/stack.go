package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
)

// Stack is the directories of an overlay mount, read without mounting it. They are
// combined by the rules of the kernel's documentation (filesystems/overlayfs.rst,
// "Whiteouts and opaque directories"). Files are opened directly in the layer that
// has them.
type Stack struct {
	layers []*Local
	// listings are the cached listings of directories. nil: none.
	listings *filecache.Listings
}

var _ tree.Tree = (*Stack)(nil)

// OpenStack opens the lower directories of an overlay mount, the uppermost
// first. The caller closes it.
func OpenStack(dirs []string) (*Stack, error) {
	s := &Stack{}
	for _, dir := range dirs {
		l, err := OpenLocal(dir)
		if err == nil && l.file {
			err = errors.Join(fmt.Errorf("open %s: not a directory", dir), l.Close())
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		l.overlay = true
		s.layers = append(s.layers, l)
	}
	guard(s.layers...)
	return s, nil
}

// Remember gives the stack a cache of its directories' listings. The stack uses it
// and adds to it. It is only for layers that do not change, and must be called
// before they are read.
func (s *Stack) Remember(l *filecache.Listings) { s.listings = l }

// Identity returns a text that identifies the stack among all on this host. It is
// another one if the same paths are removed and made again.
func (s *Stack) Identity() (string, error) {
	var b strings.Builder
	for _, l := range s.layers {
		var st unix.Stat_t
		if err := unix.Fstat(l.root, &st); err != nil {
			return "", &os.PathError{Op: "stat", Path: l.name, Err: err}
		}
		fmt.Fprintf(&b, "%q %+v\n", l.name, stampOf(&st))
	}
	return b.String(), nil
}

// Root implements [tree.Tree].
func (s *Stack) Root(ctx context.Context) (tree.Entry, tree.Dir, error) {
	e, _, err := s.layers[0].Root(ctx)
	d := &stackDir{stack: s, found: true}
	for _, l := range s.layers {
		d.dirs = append(d.dirs, newLocalDir(l))
	}
	return e, d, err
}

// Open implements [tree.Tree]. It always fails, since the root is a directory.
func (s *Stack) Open() (tree.File, error) {
	return nil, fmt.Errorf("open the root directory: not a file")
}

// Close implements [tree.Tree].
func (s *Stack) Close() error {
	var errs []error
	for _, l := range s.layers {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
