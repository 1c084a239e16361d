package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrOverlayFeature says that a directory uses a feature of overlayfs that only
// the kernel can resolve: such a base is read through a mount.
var ErrOverlayFeature = errors.New("uses a feature of overlayfs that needs a mount")

// Stack is the directories of an overlay mount read without mounting it: the
// kernel's documentation (filesystems/overlayfs.rst, "Whiteouts and opaque
// directories") says how they combine. Opening a file costs what it does in the
// directory that has it, and a mount's bookkeeping is saved.
type Stack struct{ layers []*Local }

var _ Tree = (*Stack)(nil)

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
	return s, nil
}

// Root implements [Tree].
func (s *Stack) Root(ctx context.Context) (Entry, Dir, error) {
	e, _, err := s.layers[0].Root(ctx)
	d := &stackDir{}
	for _, l := range s.layers {
		d.dirs = append(d.dirs, &localDir{tree: l})
	}
	return e, d, err
}

// Open implements [Tree]; the root is a directory.
func (s *Stack) Open() (File, error) { return nil, fmt.Errorf("open the root directory: not a file") }

// Close implements [Tree].
func (s *Stack) Close() error {
	var errs []error
	for _, l := range s.layers {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// stackDir is a directory that several layers may have, the uppermost first.
// The lowest may hide what is below it.
type stackDir struct{ dirs []*localDir }

// Entries implements [Dir].
func (d *stackDir) Entries(ctx context.Context) ([]Entry, error) {
	if len(d.dirs) == 1 {
		entries, err := d.dirs[0].Entries(ctx)
		return slices.DeleteFunc(entries, isWhiteout), err
	}
	seen := make(map[string]bool)
	var merged []Entry
	for _, dir := range d.dirs {
		entries, err := dir.Entries(ctx)
		if err != nil {
			return nil, err
		}
		for i := range entries {
			if name := entries[i].Name; !seen[name] {
				seen[name] = true
				if !isWhiteout(entries[i]) {
					merged = append(merged, entries[i])
				}
			}
		}
	}
	slices.SortFunc(merged, CompareNames)
	return merged, nil
}

func isWhiteout(e Entry) bool { return e.Type() == unix.S_IFCHR && e.Rdev == 0 }

// Sub implements [Dir]: the child in every layer that has it as a directory,
// down to the first that hides what is below.
func (d *stackDir) Sub(name string) (Dir, error) {
	sub := &stackDir{}
	for _, dir := range d.dirs {
		found, goOn, err := dir.probe(name)
		if err != nil {
			return nil, err
		}
		if found {
			sub.dirs = append(sub.dirs, &localDir{tree: dir.tree, rel: path.Join(dir.rel, name)})
		}
		if !goOn {
			break
		}
	}
	if len(sub.dirs) == 0 {
		return nil, &os.PathError{Op: "open", Path: d.dirs[0].path(name), Err: unix.ENOTDIR}
	}
	return sub, nil
}

// probe looks for a child directory in one layer: whether it is there, and
// whether layers below count too.
func (d *localDir) probe(name string) (found, goOn bool, err error) {
	fd, err := d.tree.openBeneath(path.Join(d.rel, name), unix.O_RDONLY|unix.O_DIRECTORY)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, true, nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return false, false, nil // Another file, or a whiteout, hides what is below.
	case err != nil:
		return false, false, err
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	opaque, err := xattrValue(make([]byte, 16), func(buf []byte) (int, error) {
		return unix.Fgetxattr(fd, overlayPrefix+"opaque", buf)
	})
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return true, true, nil
	case err != nil:
		return false, false, &os.PathError{Op: "read extended attributes", Path: d.path(name), Err: err}
	}
	// "x" says that the directory's whiteouts are attributes of files.
	if opaque != "y" {
		return false, false, fmt.Errorf("%s: %w (opaque=%q)", d.path(name), ErrOverlayFeature, opaque)
	}
	return true, false, nil
}

// Open implements [Dir].
func (d *stackDir) Open(name string) (File, error) {
	for _, dir := range d.dirs {
		f, err := dir.Open(name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		return f, err
	}
	return nil, &os.PathError{Op: "open", Path: d.dirs[0].path(name), Err: unix.ENOENT}
}

// Close implements [Dir].
func (d *stackDir) Close() error { return nil }
