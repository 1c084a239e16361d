package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// stackDir is a directory of the stack, which several layers may have. The layers
// are searched at its first use.
type stackDir struct {
	stack *Stack
	up    *stackDir // nil for the root
	name  string
	rel   string

	mu    sync.Mutex
	found bool
	// dirs are the layers' directories that are combined, the uppermost first. The
	// lowest of them may hide those of further layers.
	dirs []*localDir
}

// resolve finds the directory in every layer that has it, down to the first that
// hides what is below. hold: keep the descriptors.
func (d *stackDir) resolve(hold bool) ([]*localDir, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found {
		return d.dirs, nil
	}
	above, err := d.up.resolve(false)
	if err != nil {
		return nil, err
	}
	var dirs []*localDir
	for _, up := range above {
		dir := up.sub(d.name)
		found, goOn, err := dir.probe(hold)
		if err != nil {
			return nil, errors.Join(err, closeDirs(dirs))
		}
		if found {
			dirs = append(dirs, dir)
		}
		if !goOn {
			break
		}
	}
	if len(dirs) == 0 {
		return nil, &os.PathError{Op: "open", Path: above[0].path(d.name), Err: unix.ENOTDIR}
	}
	d.dirs, d.found = dirs, true
	return dirs, nil
}

// probe looks for the directory in one layer. found: the layer has it. goOn: lower
// layers are not hidden.
func (d *localDir) probe(hold bool) (found, goOn bool, err error) {
	fd, err := d.open()
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, true, nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return false, false, nil // Another file, or a whiteout, hides lower layers.
	case err != nil:
		return false, false, err
	}
	opaque, err := xattrValue(make([]byte, 16), func(buf []byte) (int, error) {
		return unix.Fgetxattr(fd, overlayPrefix()+"opaque", buf)
	})
	var closed error
	if hold {
		closed = d.keep(fd)
	} else {
		closed = unix.Close(fd)
	}
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return true, true, closed
	case err != nil:
		return false, false, &os.PathError{Op: "read extended attributes", Path: d.path(""), Err: err}
	}
	// "x" means that whiteouts in the directory are files with an attribute.
	if opaque != "y" {
		return false, false, fmt.Errorf("%s: %w (opaque=%q)", d.path(""), tree.ErrOverlayFeature, opaque)
	}
	return true, false, closed
}

// Hold implements [tree.Holder].
func (d *stackDir) Hold() error {
	if d.stack.listings.Has(d.rel) {
		return nil // The cached listing answers nearly everything.
	}
	d.mu.Lock()
	found := d.found
	d.mu.Unlock()
	dirs, err := d.resolve(true)
	if err != nil || !found {
		return err
	}
	for _, dir := range dirs {
		if err := dir.Hold(); err != nil {
			return err
		}
	}
	return nil
}

// Entries implements [tree.Dir].
func (d *stackDir) Entries(ctx context.Context) ([]tree.Entry, error) {
	if entries, ok := d.stack.listings.Get(d.rel); ok {
		return entries, ctx.Err()
	}
	entries, err := d.read(ctx)
	if err == nil {
		d.stack.listings.Add(d.rel, entries)
	}
	return entries, err
}

// read lists the directory in all layers that have it.
func (d *stackDir) read(ctx context.Context) ([]tree.Entry, error) {
	dirs, err := d.resolve(false)
	if err != nil {
		return nil, err
	}
	if len(dirs) == 1 {
		entries, err := dirs[0].Entries(ctx)
		return slices.DeleteFunc(entries, isWhiteout), err
	}
	seen := make(map[string]bool)
	var merged []tree.Entry
	for _, dir := range dirs {
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
	slices.SortFunc(merged, tree.CompareNames)
	return merged, nil
}

func isWhiteout(e tree.Entry) bool { return e.Type() == unix.S_IFCHR && e.Rdev == 0 }

// Sub implements [tree.Dir]. Its first use fails if the child is not a directory.
func (d *stackDir) Sub(name string) (tree.Dir, error) {
	return &stackDir{stack: d.stack, up: d, name: name, rel: tree.JoinPath(d.rel, name)}, nil
}

// Open implements [tree.Dir].
func (d *stackDir) Open(name string) (tree.File, error) {
	dirs, err := d.resolve(false)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		f, err := dir.Open(name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		return f, err
	}
	return nil, &os.PathError{Op: "open", Path: dirs[0].path(name), Err: unix.ENOENT}
}

// Close implements [tree.Dir].
func (d *stackDir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return closeDirs(d.dirs)
}

func closeDirs(dirs []*localDir) error {
	var errs []error
	for _, dir := range dirs {
		if err := dir.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
