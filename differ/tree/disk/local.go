package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/internal/eintr"
)

// pathChunk is the greatest length of a path for one openat2. Longer paths than the
// kernel's PATH_MAX are opened in several steps.
const pathChunk = unix.PathMax - 256

// xattrScratch is the size of the first buffer for the names of a file's extended
// attributes. It is enough for nearly all files.
const xattrScratch = 1024

// Local is a directory, or a single regular file, of this host. It is read through
// descriptors relative to its root. Below the root, symbolic links are never
// followed and mount points are not crossed, even if the tree changes meanwhile. It
// keeps one descriptor open, and more while directories are held.
type Local struct {
	name string
	root int
	file bool
	// overlay: this is a layer of an overlay file system. Attributes of overlayfs
	// have a meaning in it.
	overlay bool
	// heldBelow is the result of [heldBelow].
	heldBelow int
	// guarded: the root is on a mount on which no device can be opened. See
	// [Local.Guard].
	guarded bool
	// plain: extended attributes are left out.
	plain bool
	// noticed: this process is not allowed to read without changing access times.
	noticed atomic.Bool
	// cache knows which files have no extended attributes. nil: none known.
	cache *filecache.Cache
}

var _ tree.Tree = (*Local)(nil)

// OpenLocal opens the directory or regular file at name, following symbolic
// links in name itself. The caller closes it.
func OpenLocal(name string) (*Local, error) {
	at, err := eintr.Retry(func() (int, error) { return unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(at) //nolint:errcheck // nothing is written by it
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	// Look at the file before opening it: see [localDir.Open].
	l := &Local{name: name, heldBelow: heldBelow()}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFREG:
		l.file = true
	default:
		return nil, errFileType(name)
	}
	if l.root, err = eintr.Retry(func() (int, error) { return unix.Open(fdPath(at, ""), readFlags, 0) }); err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return l, nil
}

const readFlags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK

func errFileType(name string) error {
	return fmt.Errorf("open %s: neither a directory nor a regular file", name)
}

// refused is the beginning of attributes' names that have a meaning here, so that they
// cannot be taken for a file's own; empty: none have.
func (l *Local) refused() string {
	if l.overlay {
		return overlayPrefix()
	}
	return ""
}

// LeaveXattrs leaves out the files' extended attributes, for a tree where they are of
// this host alone. It must be called before the tree is read.
func (l *Local) LeaveXattrs() { l.plain = true }

// Name returns the path that the tree was opened by.
func (l *Local) Name() string { return l.name }

// Root implements [tree.Tree].
func (l *Local) Root(context.Context) (tree.Entry, tree.Dir, error) {
	var st unix.Statx_t
	if err := statxFD(l.root, &st); err != nil {
		return tree.Entry{}, nil, &os.PathError{Op: "stat", Path: l.name, Err: err}
	}
	e := entryOf("", &st)
	var err error
	if !l.plain {
		e.Xattrs, err = readXattrs(l.root, "", "", make([]byte, xattrScratch))
	}
	if err != nil {
		return tree.Entry{}, nil, &os.PathError{Op: "read extended attributes", Path: l.name, Err: err}
	}
	if l.file {
		return e, nil, nil
	}
	return e, newLocalDir(l), nil
}

// Open implements [tree.Tree].
func (l *Local) Open() (tree.File, error) {
	// Open the file again, since a duplicate would share the offset.
	fd, err := eintr.Retry(func() (int, error) {
		return unix.Open(fdPath(l.root, ""), readFlags, 0)
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: l.name, Err: err}
	}
	f := &localFile{fd: fd, name: l.name}
	if err := f.look(fd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Close implements [tree.Tree].
func (l *Local) Close() error {
	if l.root < 0 {
		return nil
	}
	fd := l.root
	l.root = -1
	return unix.Close(fd)
}

// openBeneath opens a path below the root without following links, and returns
// the descriptor. The flags are open(2)'s.
func (l *Local) openBeneath(rel string, flags int) (int, error) {
	at := l.root
	for rest := rel; ; {
		head, tail := splitPath(rest)
		how := beneath(flags)
		if tail != "" {
			how.Flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
		}
		fd, err := l.openat(at, head, how)
		if at != l.root {
			_ = unix.Close(at) // It was only needed to open the next one.
		}
		if err != nil {
			return -1, l.openError(rel, err)
		}
		if tail == "" {
			return fd, nil
		}
		at, rest = fd, tail
	}
}

// openat opens a name in the directory at. If the kernel allows it, access times
// are not changed: each new time is a write to the source. The kernel allows it to
// the file's owner and to privileged processes.
func (l *Local) openat(at int, name string, how unix.OpenHow) (int, error) {
	open := func() (int, error) { return openBeneathAt(at, name, &how) }
	if how.Flags&unix.O_PATH != 0 || l.noticed.Load() {
		return open()
	}
	how.Flags |= unix.O_NOATIME
	fd, err := open()
	if !errors.Is(err, unix.EPERM) {
		return fd, err
	}
	how.Flags &^= unix.O_NOATIME
	if fd, err = open(); err == nil {
		l.noticed.Store(true)
	}
	return fd, err
}

// reopen opens the file of an O_PATH descriptor for reading.
func (l *Local) reopen(at int) (int, error) {
	open := func(flags int) (int, error) {
		return eintr.Retry(func() (int, error) { return unix.Open(fdPath(at, ""), flags, 0) })
	}
	if l.noticed.Load() {
		return open(readFlags)
	}
	fd, err := open(readFlags | unix.O_NOATIME)
	if !errors.Is(err, unix.EPERM) {
		return fd, err
	}
	if fd, err = open(readFlags); err == nil {
		l.noticed.Store(true)
	}
	return fd, err
}

// beneath returns the restrictions under which everything below the root is opened.
func beneath(flags int) unix.OpenHow {
	return unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
}

func (l *Local) openError(rel string, err error) error {
	switch {
	case errors.Is(err, unix.EXDEV):
		err = tree.ErrMountPoint
	case errors.Is(err, unix.ENOSYS):
		err = errNoOpenat2
	}
	return &os.PathError{Op: "open", Path: path.Join(l.name, rel), Err: err}
}

// errNoOpenat2 names both possible causes: an old kernel, and a filter of system
// calls. Such filters forbid all of openat2 because they cannot look at its
// arguments.
var errNoOpenat2 = errors.New("openat2 is not to be had: the kernel is older than Linux 5.6, or a filter of system calls forbids it (in a systemd unit RestrictSUIDSGID=; set it to no), and the kernel is older than 5.8")

// splitPath cuts a path between two components, so that the head is short enough
// for one system call.
func splitPath(rel string) (head, tail string) {
	if rel == "" {
		return ".", ""
	}
	if len(rel) <= pathChunk {
		return rel, ""
	}
	i := strings.LastIndexByte(rel[:pathChunk], '/')
	return rel[:i], rel[i+1:]
}

// Remember gives the tree a cache of which files have no extended attributes. The
// tree uses it and adds to it. It also restricts the cache to the files for which
// [Local.Trust] allows it. It must be called before the tree is read.
func (l *Local) Remember(m *filecache.Cache) {
	if m.Restrict(l.Trust()) {
		l.cache = m
	}
}

// Trust returns what may be remembered of the tree's files.
func (l *Local) Trust() filecache.Trust { return filecache.TrustOf(l.root) }

// Descriptor opens a path below the root, as the files of the tree are opened, and
// returns the descriptor, which is the caller's. The flags are open(2)'s.
func (l *Local) Descriptor(rel string, flags int) (int, error) { return l.openBeneath(rel, flags) }
