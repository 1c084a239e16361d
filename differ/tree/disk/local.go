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

// pathChunk is how much of a path one openat2 gets: paths longer than the
// kernel's PATH_MAX are walked in several steps.
const pathChunk = unix.PathMax - 256

// xattrScratch holds the names of a file's extended attributes, but for those
// of the few that have many.
const xattrScratch = 1024

// Local is a directory, or a single regular file, of this host. It is read
// through descriptors relative to its root: symbolic links below the root are
// never followed, and mount points are not crossed, whatever changes in the
// tree meanwhile. It keeps one descriptor open.
type Local struct {
	name string
	root int
	file bool
	// overlay: this is a layer of an overlay file system, whose own attributes
	// mean something.
	overlay bool
	// heldBelow bounds the descriptors that directories keep.
	heldBelow int
	// noticed: this process may not read without changing access times.
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
	// Looked at before it is opened, see [localDir.Open].
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

// Name is the path that the tree was opened by.
func (l *Local) Name() string { return l.name }

// Root implements [tree.Tree].
func (l *Local) Root(context.Context) (tree.Entry, tree.Dir, error) {
	var st unix.Statx_t
	if err := statxFD(l.root, &st); err != nil {
		return tree.Entry{}, nil, &os.PathError{Op: "stat", Path: l.name, Err: err}
	}
	e := entryOf("", &st)
	var err error
	if e.Xattrs, err = readXattrs(l.root, "", "", make([]byte, xattrScratch)); err != nil {
		return tree.Entry{}, nil, &os.PathError{Op: "read extended attributes", Path: l.name, Err: err}
	}
	if l.file {
		return e, nil, nil
	}
	return e, newLocalDir(l), nil
}

// Open implements [tree.Tree].
func (l *Local) Open() (tree.File, error) {
	// A new open file description, since offsets are shared otherwise.
	fd, err := eintr.Retry(func() (int, error) {
		return unix.Open(fdPath(l.root, ""), readFlags, 0)
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: l.name, Err: err}
	}
	return &localFile{fd: fd, name: l.name}, nil
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
			_ = unix.Close(at) // It was only passed through.
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

// openat opens a name in the directory at, and leaves access times as they are
// where the kernel lets this process: it must own the file, or be privileged.
// What is only read is not to be written to, and each new time is a write.
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

// reopen opens for reading what a descriptor of O_PATH refers to.
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

// beneath is how everything below the root is opened.
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

// errNoOpenat2 names both of what answers so: an old kernel, and a filter of
// system calls, which cannot look into openat2's arguments and so forbids all of it.
var errNoOpenat2 = errors.New("openat2 is not to be had: the kernel is older than Linux 5.6, or a filter of system calls forbids it (in a systemd unit RestrictSUIDSGID=; set it to no), and the kernel is older than 5.8")

// splitPath cuts rel at a component so that the head fits in one system call.
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

// Remember lets the tree ask and tell m which files have no extended attributes,
// and m know which of the tree's files [Local.Trust] holds for. It is to be
// called before the tree is read.
func (l *Local) Remember(m *filecache.Cache) {
	if m.Restrict(l.Trust()) {
		l.cache = m
	}
}

// Trust finds out what may be remembered of the tree's files.
func (l *Local) Trust() filecache.Trust { return filecache.TrustOf(l.root) }
