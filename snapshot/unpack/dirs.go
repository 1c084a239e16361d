package unpack

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cfs "github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/eintr"
)

const (
	// impliedMode is that of directories that no entry names, and no layer below has.
	impliedMode = 0o755
	// pathMax is the length from which on containerd's system calls refuse a path.
	pathMax = 4096
	// mostDirs is the number of directories that are open at the same time.
	mostDirs = 256
)

// dir is an open directory below the root.
type dir struct {
	rel   string // its path without links; empty: the root
	fd    int
	users int // what has to be done before it may be closed
	// fresh: the layer has made it since it was opened, and of the names in it none is
	// greater than last.
	fresh bool
	last  string
}

// adds reports whether nothing can have a name that is about to be made in the
// directory. Most layers have the names of a directory in order.
func (d *dir) adds(name string) bool {
	if !d.fresh || name <= d.last {
		return false
	}
	d.last = name
	return true
}

// join returns the path of a name in the directory.
func (d *dir) join(name string) string {
	if d.rel == "" {
		return name
	}
	return d.rel + "/" + name
}

// dirs are the directories below a root, of which some are open. They are for one
// goroutine.
type dirs struct {
	root    string
	top     *dir
	open    map[string]*dir // by path; without the root
	order   []*dir          // those of open, the oldest first
	limit   int
	parents parentsFunc
	// settle waits for what is being written. If rel is not empty, only if that is.
	settle func(rel string) error
}

type parentsFunc = func(context.Context) ([]string, error)

func openDirs(root string, parents parentsFunc, settle func(rel string) error) (*dirs, error) {
	root = filepath.Clean(root)
	fd, err := openat(unix.AT_FDCWD, root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	return &dirs{
		root: root, top: &dir{fd: fd}, open: map[string]*dir{}, limit: dirLimit(), parents: parents, settle: settle,
	}, nil
}

// dirLimit leaves most descriptors to the rest of the process.
func dirLimit() int {
	var most unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &most); err != nil {
		return 4
	}
	return int(max(4, min(most.Cur/16, mostDirs)))
}

func openat(at int, name string, flags int, mode uint32) (int, error) {
	return eintr.Retry(func() (int, error) {
		return unix.Openat(at, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
	})
}

// forget closes a directory and all below it, since they are removed. Nothing may be
// being written there.
func (d *dirs) forget(rel string) {
	d.closeIf(func(one *dir) bool { return one.rel == rel || strings.HasPrefix(one.rel, rel+"/") })
}

func (d *dirs) close() error {
	d.closeIf(func(*dir) bool { return true })
	return unix.Close(d.top.fd)
}

// closeIf closes open directories, the oldest first.
func (d *dirs) closeIf(is func(*dir) bool) {
	kept := d.order[:0]
	for _, one := range d.order {
		if !is(one) {
			kept = append(kept, one)
			continue
		}
		_ = unix.Close(one.fd) // Nothing was written to it.
		delete(d.open, one.rel)
	}
	clear(d.order[len(kept):])
	d.order = kept
}

// spare closes directories that nobody uses until half of them may be opened.
func (d *dirs) spare() error {
	if len(d.order) < d.limit {
		return nil
	}
	if d.closeUnused(); len(d.order) < d.limit {
		return nil
	}
	if err := d.settle(""); err != nil {
		return err
	}
	d.closeUnused()
	return nil
}

func (d *dirs) closeUnused() {
	d.closeIf(func(one *dir) bool { return one.users == 0 && len(d.open) > d.limit/2 })
}

// errNotDirectory is about a path that a file or a link is part of.
var errNotDirectory = errors.New("not a directory")

// resolve returns the directory that a path of an entry leads to, which may have links.
// If create is set, directories that are missing are made, as containerd does.
func (d *dirs) resolve(ctx context.Context, path string, create bool) (*dir, error) {
	if !goesUp(path) {
		lexical := strings.TrimPrefix(filepath.Clean("/"+path), "/")
		if lexical == "" {
			return d.top, nil
		}
		if one := d.open[lexical]; one != nil {
			return one, nil
		}
		one, err := d.walk(ctx, lexical, create)
		if !errors.Is(err, errNotDirectory) {
			return one, err
		}
	}
	if err := d.settle(""); err != nil {
		return nil, err
	}
	actual, err := cfs.RootPath(d.root, path)
	if err != nil {
		return nil, err
	}
	one, err := d.walk(ctx, d.below(actual), create)
	if errors.Is(err, errNotDirectory) {
		return nil, &fs.PathError{Op: "open directory", Path: actual, Err: unix.ENOTDIR}
	}
	return one, err
}

// goesUp reports whether links count for where a path leads that has no link itself.
func goesUp(path string) bool {
	return slices.Contains(strings.Split(path, "/"), "..")
}

// below returns the part of a path that is below the root.
func (d *dirs) below(path string) string {
	return strings.Trim(strings.TrimPrefix(path, d.root), "/")
}

// walk opens a path without links. If there is a link or a file in it, the error is
// errNotDirectory.
func (d *dirs) walk(ctx context.Context, rel string, create bool) (*dir, error) {
	at, from := d.top, 0
	for end := len(rel); end > 0; end = strings.LastIndexByte(rel[:end], '/') {
		if one := d.open[rel[:end]]; one != nil {
			at, from = one, end+1
			break
		}
	}
	for from < len(rel) {
		end := len(rel)
		if i := strings.IndexByte(rel[from:], '/'); i >= 0 {
			end = from + i
		}
		name := rel[from:end]
		next, err := d.child(at, name)
		if errors.Is(err, unix.ENOENT) && create {
			next, err = d.imply(ctx, at, name)
		}
		if err != nil {
			return nil, err
		}
		at, from = next, end+1
	}
	return at, nil
}

// child opens a directory in another one. If a file or a link has the name, the error
// is errNotDirectory.
func (d *dirs) child(at *dir, name string) (*dir, error) {
	rel := at.join(name)
	if one := d.open[rel]; one != nil {
		return one, nil
	}
	if err := errors.Join(d.fits(rel), d.settle(rel)); err != nil {
		return nil, err
	}
	fd, err := openat(at.fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	switch {
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, errNotDirectory
	case err != nil:
		return nil, d.fail("open directory", rel, err)
	}
	return d.keep(at, rel, fd)
}

// keep adds an open directory to the others.
func (d *dirs) keep(at *dir, rel string, fd int) (*dir, error) {
	at.users++
	defer func() { at.users-- }()
	if err := d.spare(); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	one := &dir{rel: rel, fd: fd}
	d.open[rel] = one
	d.order = append(d.order, one)
	return one, nil
}

// fits returns an error for a path that is too long for containerd.
func (d *dirs) fits(rel string) error {
	if len(d.root)+1+len(rel) >= pathMax {
		return d.fail("find", rel, unix.ENAMETOOLONG)
	}
	return nil
}

func (d *dirs) fail(op, rel string, err error) error {
	return &fs.PathError{Op: op, Path: filepath.Join(d.root, rel), Err: err}
}

// imply makes a directory that no entry has named so far, with what the layers below
// say about it.
func (d *dirs) imply(ctx context.Context, at *dir, name string) (*dir, error) {
	rel := at.join(name)
	if err := unix.Mkdirat(at.fd, name, impliedMode); err != nil {
		return nil, d.fail("make directory", rel, err)
	}
	at.adds(name)
	one, err := d.child(at, name)
	if err != nil {
		return nil, err
	}
	one.fresh = true
	if err := unix.Fchmod(one.fd, impliedMode); err != nil {
		return nil, d.fail("chmod", rel, err)
	}
	if d.parents == nil {
		return one, nil
	}
	below, err := d.parents(ctx)
	if err != nil {
		return nil, err
	}
	from, err := findBelow(below, rel)
	if from == "" || err != nil {
		return one, err
	}
	return one, inherit(one.fd, from)
}

// findBelow returns the uppermost directory of that path in the layers below, or
// nothing if there is none, or something else above it.
func findBelow(layers []string, rel string) (string, error) {
	for _, layer := range layers {
		path, err := cfs.RootPath(layer, "/"+rel)
		if err != nil {
			return "", err
		}
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", err
		case !info.IsDir():
			return "", nil
		}
		return path, nil
	}
	return "", nil
}
