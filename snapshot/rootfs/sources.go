package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/tempfile"
	"github.com/veneer-build/veneer/internal/words"
)

// ErrNoFiles means that the files of an image cannot be read here: it has no snapshot,
// and not all of its layers are stored. Ref is the image's name.
var ErrNoFiles = errors.New("the image's files are not here")

// maxSourceDirs is the number of directories that [Sources] remember how to get to, of
// all images together.
const maxSourceDirs = 256

// Sources are the regular files of one image or of several, by their paths. A path means
// the file of the first image that has a regular file there. Symbolic links are not
// followed. It is a [tardiff.Tree], and is for one goroutine at a time.
type Sources struct {
	ctx   context.Context //nolint:containedctx // that of the work that reads them
	trees []tree.Tree
	roots []tree.Dir
	dirs  map[sourceDir]tree.Dir
	temp  string
}

// sourceDir is a directory of one of the images.
type sourceDir struct {
	image int
	path  string
}

var _ tardiff.Tree = (*Sources)(nil)

// OpenSources opens the files of images: their snapshots, or else their layers' blobs.
// It unpacks none. An image whose files are in neither is an error of kind [ErrNoFiles]. ctx is used by
// the methods too, and its lease must outlive them. The caller closes the result.
func (o *Opener) OpenSources(ctx context.Context, imgs []*content.Image) (_ *Sources, err error) {
	s := &Sources{ctx: ctx, dirs: map[sourceDir]tree.Dir{}, temp: o.Spool}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, img := range imgs {
		f := o.Of(img, "image")
		reader := Auto
		if !f.unpackedAlready(ctx) {
			if reader = Index; len(img.Missing) > 0 {
				return nil, &fault.Error{Kind: ErrNoFiles, Ref: img.Name, Err: fmt.Errorf("read %s: it is not unpacked, and %s %s not stored",
					f, words.SomeOf(len(img.Missing), len(img.Layers), "layer"), words.Pick(len(img.Missing), "is", "are"))}
			}
		}
		t, err := f.Open(ctx, reader)
		if err != nil {
			return nil, err
		}
		s.trees = append(s.trees, t)
		_, root, err := t.Root(ctx)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f, err)
		}
		s.roots = append(s.roots, root)
	}
	return s, nil
}

// Close releases the images. Files that were opened can no longer be read.
func (s *Sources) Close() error {
	errs := []error{s.forget()}
	for _, t := range s.trees {
		errs = append(errs, t.Close())
	}
	s.trees = nil
	return errors.Join(errs...)
}

// forget forgets how to get to directories.
func (s *Sources) forget() error {
	var errs []error
	for _, d := range s.dirs {
		errs = append(errs, d.Close())
	}
	clear(s.dirs)
	return errors.Join(errs...)
}

// Files implements [tardiff.Tree]. Of each directory the names come in bytewise order.
func (s *Sources) Files(f func(path string, size int64) error) error {
	return s.walk("", s.roots, f)
}

// walk lists what a directory has in any of the images, those of the first one first.
func (s *Sources) walk(at string, dirs []tree.Dir, f func(path string, size int64) error) error {
	lists := make([][]tree.Entry, len(dirs))
	for i, d := range dirs {
		var err error
		if lists[i], err = d.Entries(s.ctx); err != nil {
			return err
		}
	}
	for {
		name, more := lowest(lists)
		if !more {
			return nil
		}
		file, below, err := take(name, lists, dirs)
		if err == nil && file != nil {
			err = f(tree.JoinPath(at, name), file.Size)
		}
		if err == nil && len(below) > 0 {
			err = s.walk(tree.JoinPath(at, name), below, f)
		}
		for _, d := range below {
			err = errors.Join(err, d.Close())
		}
		if err != nil {
			return err
		}
	}
}

// take removes a name from the lists of directories. It returns the first regular file of
// that name, and all directories.
func take(name string, lists [][]tree.Entry, dirs []tree.Dir) (file *tree.Entry, below []tree.Dir, _ error) {
	for i, list := range lists {
		if len(list) == 0 || list[0].Name != name {
			continue
		}
		e := &list[0]
		lists[i] = list[1:]
		if e.IsRegular() && file == nil {
			file = e
		}
		if !e.IsDir() {
			continue
		}
		d, err := dirs[i].Sub(name)
		if err != nil {
			return nil, below, err
		}
		below = append(below, d)
	}
	return file, below, nil
}

// lowest is the first name of all lists, of which each is sorted.
func lowest(lists [][]tree.Entry) (name string, ok bool) {
	for _, list := range lists {
		if len(list) > 0 && (!ok || list[0].Name < name) {
			name, ok = list[0].Name, true
		}
	}
	return name, ok
}

// Open implements [tardiff.Opener].
func (s *Sources) Open(name string) (tardiff.File, error) {
	f, _, err := s.Find(name)
	return f, err
}

// Find is Open that also returns the number of the image that has the file.
func (s *Sources) Find(name string) (_ tardiff.File, image int, _ error) {
	if !tardiff.ValidPath(name) {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	for i := range s.trees {
		f, err := s.open(i, name)
		if err == nil {
			return f, i, nil
		}
		if !absent(err) {
			return nil, 0, err
		}
	}
	return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// absent reports whether an error means that there is no regular file of a path.
func absent(err error) bool {
	return slices.ContainsFunc([]error{
		fs.ErrNotExist, tree.ErrNotRegular, tree.ErrMountPoint,
		unix.ENOTDIR, unix.ELOOP, unix.EISDIR, unix.EINVAL, unix.ENAMETOOLONG, unix.ENXIO,
	}, func(is error) bool { return errors.Is(err, is) })
}

// open opens the file of one image.
func (s *Sources) open(image int, name string) (tardiff.File, error) {
	dir, base := path.Split(name)
	d, err := s.dir(image, strings.TrimSuffix(dir, "/"))
	if err != nil {
		return nil, err
	}
	f, err := d.Open(base)
	if err != nil {
		return nil, err
	}
	if r, ok := f.(tree.Random); ok {
		return r, nil
	}
	return s.copied(f)
}

// dir is a directory of an image.
func (s *Sources) dir(image int, name string) (tree.Dir, error) {
	if name == "" {
		return s.roots[image], nil
	}
	key := sourceDir{image, name}
	if d := s.dirs[key]; d != nil {
		return d, nil
	}
	above, base := path.Split(name)
	up, err := s.dir(image, strings.TrimSuffix(above, "/"))
	if err != nil {
		return nil, err
	}
	d, err := up.Sub(base)
	if err != nil {
		return nil, err
	}
	if len(s.dirs) >= maxSourceDirs {
		if err := s.forget(); err != nil {
			return nil, err
		}
	}
	s.dirs[key] = d
	return d, nil
}

// copied makes a file that can just be read from its beginning one that any part can be
// read of.
func (s *Sources) copied(from tree.File) (_ tardiff.File, err error) {
	defer from.Close() // only read
	dir := s.temp
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := tempfile.Unnamed(dir)
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, from)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy a file of a layer: %w", err), f.Close())
	}
	return copiedFile{f, n}, nil
}

// copiedFile is a temporary copy of a file.
type copiedFile struct {
	*os.File
	size int64
}

// Size implements [tardiff.File].
func (c copiedFile) Size() int64 { return c.size }
