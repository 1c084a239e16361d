package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/eintr"
)

// maxHeld is the number of open descriptors from which no more directories stay
// open.
const maxHeld = 512

// heldBelow returns a limit: a directory stays open only if its descriptor's number
// is lower. The kernel gives out the lowest free number, so this limits the
// directories of all trees together, those of a stack too. It leaves three of four
// descriptors to files.
func heldBelow() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(maxHeld, limit.Cur/4))
}

// localDir is a directory below the root. It is identified by its path, so that
// trees of any width and depth need few descriptors. While it is held it has its
// own descriptor, and files in it are opened relative to that.
type localDir struct {
	tree *Local
	up   *localDir // nil for the root
	rel  string

	mu   sync.RWMutex // held for reading while fd is used
	fd   int          // -1: none
	list sync.Mutex   // held while the directory is listed: a descriptor has one position
}

func newLocalDir(tree *Local) *localDir { return &localDir{tree: tree, fd: -1} }

func (d *localDir) sub(name string) *localDir {
	return &localDir{tree: d.tree, up: d, rel: tree.JoinPath(d.rel, name), fd: -1}
}

// open opens the directory.
func (d *localDir) open() (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY
	if d.up == nil {
		return d.tree.openBeneath(d.rel, flags)
	}
	return d.up.openIn(path.Base(d.rel), flags)
}

// openIn opens a name in the directory: relative to its descriptor, or else by the
// path from the root.
func (d *localDir) openIn(name string, flags int) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.fd < 0 {
		return d.tree.openBeneath(tree.JoinPath(d.rel, name), flags)
	}
	fd, err := d.tree.openat(d.fd, name, beneath(flags))
	if err != nil {
		return -1, d.tree.openError(tree.JoinPath(d.rel, name), err)
	}
	return fd, nil
}

// Hold implements [tree.Holder].
func (d *localDir) Hold() error {
	fd, err := d.open()
	if err != nil {
		return err
	}
	return d.keep(fd)
}

// keep keeps the descriptor for the directory, or closes it if too many are open.
func (d *localDir) keep(fd int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 && fd < d.tree.heldBelow {
		d.fd = fd
		return nil
	}
	return unix.Close(fd)
}

// Close implements [tree.Dir].
func (d *localDir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd = -1
	return unix.Close(fd)
}

// Entries implements [tree.Dir].
func (d *localDir) Entries(ctx context.Context) ([]tree.Entry, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	fd := d.fd
	if fd < 0 {
		var err error
		if fd, err = d.open(); err != nil {
			return nil, err
		}
		defer unix.Close(fd) //nolint:errcheck // only read
	}
	buf := getDirents()
	defer dirents.Put(buf)
	names, err := d.names(fd, fd == d.fd, buf)
	if err != nil {
		return nil, &os.PathError{Op: "list", Path: d.path(""), Err: err}
	}
	entries, err := d.stats(ctx, fd, names, buf)
	if names.remembered && errors.As(err, new(vanishedError)) {
		// It vanished just now, or what is remembered is wrong.
		if names, err = d.listed(fd, fd == d.fd, buf); err != nil {
			return nil, &os.PathError{Op: "list", Path: d.path(""), Err: err}
		}
		entries, err = d.stats(ctx, fd, names, buf)
	}
	return entries, err
}

// stats returns the entries of names.
func (d *localDir) stats(ctx context.Context, fd int, names dirNames, buf *direntBuffers) ([]tree.Entry, error) {
	entries := tree.MakeEntries(len(names.list))
	for n, i := range names.order {
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		name := names.list[i].name
		err := d.stat(&entries[i], fd, name, buf.read)
		if errors.Is(err, unix.ENOENT) {
			return nil, vanishedError(d.path(name.text()))
		}
		if err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// vanishedError is the path of a file that vanished while its directory was read.
type vanishedError string

// Is makes it [fs.ErrNotExist].
func (e vanishedError) Is(target error) bool { return target == fs.ErrNotExist }

func (e vanishedError) Error() string {
	return fmt.Sprintf("read %s: it vanished while its directory was read", string(e))
}

// names returns the names of a descriptor of the directory: those that are
// remembered, or else those that are listed.
func (d *localDir) names(fd int, held bool, buf *direntBuffers) (dirNames, error) {
	cache := d.tree.cache
	if cache == nil {
		return d.listed(fd, held, buf)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return dirNames{}, err
	}
	stamp := stampOf(&st)
	if known, ok := unpackNames(cache.Names(stamp), buf); ok {
		return known, nil
	}
	list, err := d.listed(fd, held, buf)
	if err == nil && unix.Fstat(fd, &st) == nil && stampOf(&st) == stamp {
		cache.AddNames(stamp, packNames(list))
	}
	return list, err
}

// listed lists a descriptor of the directory. One that is held may have been listed
// before.
func (d *localDir) listed(fd int, held bool, buf *direntBuffers) (dirNames, error) {
	if held {
		d.list.Lock()
		defer d.list.Unlock()
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
			return dirNames{}, err
		}
	}
	return listNames(fd, buf)
}

func (d *localDir) stat(e *tree.Entry, fd int, name cString, scratch []byte) error {
	var st unix.Statx_t
	if err := statxAt(fd, name, &st); err != nil {
		return &os.PathError{Op: "stat", Path: d.path(name.text()), Err: err}
	}
	*e = entryOf(name.text(), &st)
	var err error
	if e.IsSymlink() {
		if e.Link, err = readlinkat(fd, e.Name); err != nil {
			return &os.PathError{Op: "read link", Path: d.path(e.Name), Err: err}
		}
		return nil // Links cannot have any attribute that layers carry.
	}
	if d.tree.plain || d.tree.cache.Plain(e) {
		return nil
	}
	if e.Xattrs, err = readXattrs(fd, name, d.tree.refused(), scratch); err != nil {
		return &os.PathError{Op: "read extended attributes", Path: d.path(e.Name), Err: err}
	}
	if e.Xattrs == nil {
		d.tree.cache.AddPlain(e)
	}
	return nil
}

// Stat implements [tree.Stater].
func (d *localDir) Stat() (tree.Entry, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	fd := d.fd
	if fd < 0 {
		var err error
		if fd, err = d.open(); err != nil {
			return tree.Entry{}, err
		}
		defer unix.Close(fd) //nolint:errcheck // only read
	}
	var st unix.Statx_t
	if err := statxFD(fd, &st); err != nil {
		return tree.Entry{}, &os.PathError{Op: "stat", Path: d.path(""), Err: err}
	}
	e := entryOf(path.Base(d.rel), &st)
	if d.tree.plain || d.tree.cache.Plain(&e) {
		return e, nil
	}
	var err error
	if e.Xattrs, err = readXattrs(fd, "", d.tree.refused(), make([]byte, xattrScratch)); err != nil {
		return tree.Entry{}, &os.PathError{Op: "read extended attributes", Path: d.path(""), Err: err}
	}
	return e, nil
}

// Sub implements [tree.Dir]. Its first use fails if the child is not a directory.
func (d *localDir) Sub(name string) (tree.Dir, error) { return d.sub(name), nil }

// Open implements [tree.Dir]. What is no regular file any more is an error. A device
// is never opened, since that alone makes some devices act.
func (d *localDir) Open(name string) (tree.File, error) {
	if d.tree.guarded {
		return d.openGuarded(name)
	}
	at, err := d.openIn(name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer unix.Close(at) //nolint:errcheck // nothing is written by it
	f := &localFile{fd: -1, dir: d, name: name}
	if err := f.look(at); err != nil {
		return nil, err
	}
	if f.fd, err = d.tree.reopen(at); err != nil {
		return nil, &os.PathError{Op: "open", Path: f.path(), Err: err}
	}
	return f, nil
}

func (d *localDir) path(name string) string { return path.Join(d.tree.name, d.rel, name) }

func readlinkat(dir int, name string) (string, error) {
	var small [256]byte
	for buf := small[:]; ; buf = make([]byte, 2*len(buf)) {
		n, err := eintr.Retry(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
		if err != nil || n < len(buf) {
			return string(buf[:max(n, 0)]), err
		}
	}
}
