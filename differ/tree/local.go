package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrMountPoint says that a path of a local tree lies on another mount than
// the tree's root, which is not entered.
var ErrMountPoint = errors.New("is a mount point")

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
}

var _ Tree = (*Local)(nil)

// OpenLocal opens the directory or regular file at name, following symbolic
// links in name itself. The caller closes it.
func OpenLocal(name string) (*Local, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if errors.Is(err, unix.ENXIO) { // a socket cannot be opened at all
		return nil, errFileType(name)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	l := &Local{name: name, root: fd}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(&os.PathError{Op: "stat", Path: name, Err: err}, l.Close())
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return l, nil
	case unix.S_IFREG:
		l.file = true
		return l, nil
	}
	return nil, errors.Join(errFileType(name), l.Close())
}

func errFileType(name string) error {
	return fmt.Errorf("open %s: neither a directory nor a regular file", name)
}

// Root implements [Tree].
func (l *Local) Root(context.Context) (Entry, Dir, error) {
	var st unix.Stat_t
	if err := unix.Fstat(l.root, &st); err != nil {
		return Entry{}, nil, &os.PathError{Op: "stat", Path: l.name, Err: err}
	}
	e := entryOf("", &st)
	var err error
	if e.Xattrs, err = readXattrs(l.root, "", "", make([]byte, xattrScratch)); err != nil {
		return Entry{}, nil, &os.PathError{Op: "read extended attributes", Path: l.name, Err: err}
	}
	if l.file {
		return e, nil, nil
	}
	return e, &localDir{tree: l}, nil
}

// Open implements [Tree].
func (l *Local) Open() (File, error) {
	// A new open file description, since offsets are shared otherwise.
	fd, err := retry(func() (int, error) {
		return unix.Open(fdPath(l.root, ""), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: l.name, Err: err}
	}
	return &localFile{fd: fd, name: l.name}, nil
}

// Close implements [Tree].
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
		how := unix.OpenHow{
			Flags:   uint64(flags) | unix.O_CLOEXEC | unix.O_NOFOLLOW,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
		}
		if tail != "" {
			how.Flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
		}
		fd, err := retry(func() (int, error) { return unix.Openat2(at, head, &how) })
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

func (l *Local) openError(rel string, err error) error {
	switch {
	case errors.Is(err, unix.EXDEV):
		err = ErrMountPoint
	case errors.Is(err, unix.ENOSYS):
		err = errors.New("the kernel lacks openat2: Linux 5.6 or newer is needed")
	}
	return &os.PathError{Op: "open", Path: path.Join(l.name, rel), Err: err}
}

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

// localDir is a directory below the root, by its path: no descriptor is held
// between calls, so that trees of any width and depth need but few.
type localDir struct {
	tree *Local
	rel  string
}

// Entries implements [Dir].
func (d *localDir) Entries(ctx context.Context) ([]Entry, error) {
	fd, err := d.tree.openBeneath(d.rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	names, err := listNames(fd)
	if err != nil {
		return nil, &os.PathError{Op: "list", Path: d.path(""), Err: err}
	}
	slices.Sort(names)
	entries := make([]Entry, 0, len(names))
	scratch := make([]byte, xattrScratch)
	for i, name := range names {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		e, err := d.stat(fd, name, scratch)
		if errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("read %s: it vanished while its directory was read", d.path(name))
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// listNames reads a directory.
func listNames(fd int) ([]string, error) {
	var names []string
	buf := getDirents()
	defer dirents.Put(buf)
	for {
		n, err := retry(func() (int, error) { return unix.ReadDirent(fd, *buf) })
		if err != nil || n == 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent((*buf)[:n], -1, names)
	}
}

// dirents are buffers for what getdents(2) returns.
var dirents = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

func getDirents() *[]byte {
	b, _ := dirents.Get().(*[]byte) // It holds nothing else.
	return b
}

func (d *localDir) stat(fd int, name string, scratch []byte) (Entry, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return Entry{}, &os.PathError{Op: "stat", Path: d.path(name), Err: err}
	}
	e := entryOf(name, &st)
	if e.IsSymlink() {
		if e.Link, err = readlinkat(fd, name); err != nil {
			return Entry{}, &os.PathError{Op: "read link", Path: d.path(name), Err: err}
		}
		return e, nil // Of the attributes kept, none can be set on a link.
	}
	refuse := ""
	if d.tree.overlay {
		refuse = overlayPrefix
	}
	if e.Xattrs, err = readXattrs(fd, name, refuse, scratch); err != nil {
		return Entry{}, &os.PathError{Op: "read extended attributes", Path: d.path(name), Err: err}
	}
	return e, nil
}

// Sub implements [Dir]; that the child is a directory shows at its first use.
func (d *localDir) Sub(name string) (Dir, error) {
	return &localDir{tree: d.tree, rel: path.Join(d.rel, name)}, nil
}

// Open implements [Dir].
func (d *localDir) Open(name string) (File, error) {
	fd, err := d.tree.openBeneath(path.Join(d.rel, name), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := &localFile{fd: fd, name: d.path(name)}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(&os.PathError{Op: "stat", Path: f.name, Err: err}, f.Close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.Join(fmt.Errorf("read %s: it is no regular file any more", f.name), f.Close())
	}
	return f, nil
}

// Close implements [Dir].
func (d *localDir) Close() error { return nil }

func (d *localDir) path(name string) string { return path.Join(d.tree.name, d.rel, name) }

func entryOf(name string, st *unix.Stat_t) Entry {
	e := Entry{
		Name: name,
		Meta: Meta{
			Mode: st.Mode, UID: st.Uid, GID: st.Gid,
			MTime: st.Mtim.Sec, MTimeNsec: int32(st.Mtim.Nsec),
		},
		Stamp: stampOf(st),
	}
	switch e.Type() {
	case unix.S_IFREG:
		e.Size = st.Size
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Rdev = st.Rdev
	}
	if st.Nlink > 1 && !e.IsDir() {
		e.Inode = Inode{Dev: st.Dev, Ino: st.Ino}
	}
	return e
}

func stampOf(st *unix.Stat_t) Stamp {
	return Stamp{Dev: st.Dev, Ino: st.Ino, CTime: st.Ctim.Nano(), MTime: st.Mtim.Nano()}
}

func readlinkat(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := retry(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
		if err != nil || n < size {
			return string(buf[:max(n, 0)]), err
		}
	}
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// stable are the file systems whose inode numbers and change times tell
// whether a file is what it was: those of local disks, and tmpfs.
var stable = map[int64]bool{
	unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true,
	unix.F2FS_SUPER_MAGIC: true, unix.TMPFS_MAGIC: true, 0x2fc12fc1 /* ZFS */ : true,
}

// Stable reports whether digests of the tree's files may be remembered under
// their stamps. On network, FUSE and overlay file systems they may not.
func (l *Local) Stable() bool {
	var st unix.Statfs_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatfs(l.root, &st) })
	return err == nil && stable[int64(st.Type)]
}
