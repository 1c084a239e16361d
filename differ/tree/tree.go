package tree

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of names. Longer ones cannot be unpacked on Linux.
const (
	// MaxPath is the greatest length of a path or link target. Linux's PATH_MAX
	// includes the final NUL, so this is one less.
	MaxPath = unix.PathMax - 1
	// MaxName is the greatest length of one path component, Linux's NAME_MAX.
	MaxName = 255
)

// Names with a meaning in layers: image-spec, layer.md, "Whiteouts".
const (
	WhiteoutPrefix = ".wh."
	OpaqueMarker   = ".wh..wh..opq"
)

// Errors of local directories that a caller may act upon.
var (
	// ErrMountPoint means that a directory is on another mount than the root of its
	// tree. It is not entered.
	ErrMountPoint = errors.New("is a mount point")
	// ErrOverlayFeature means that a directory uses a feature of overlayfs that
	// only the kernel can resolve. Such a base can only be read through a mount.
	ErrOverlayFeature = errors.New("uses a feature of overlayfs that needs a mount")
	// ErrNotRegular means that something else than a regular file was to be read.
	ErrNotRegular = errors.New("is no regular file")
)

// Digest is the SHA-256 of a regular file's content. The zero value means: not
// known.
type Digest [sha256.Size]byte

// Known reports whether the digest is known.
func (d Digest) Known() bool { return d != Digest{} }

// Meta is all metadata of a file that a layer can store, without its name.
type Meta struct {
	// Mode is st_mode: the file type (unix.S_IFMT) and the permission bits
	// with setuid, setgid and sticky.
	Mode uint32
	UID  uint32
	GID  uint32
	// Size is the content's length in bytes; 0 for all but regular files.
	Size int64
	// MTime is seconds since 1970 and may be negative; MTimeNsec is 0 to 999,999,999.
	MTime     int64
	MTimeNsec int32
	// Rdev is the device number of a character or block device (unix.Mkdev).
	Rdev uint64
	// Link is the target of a symbolic link, verbatim.
	Link string
	// Xattrs holds the extended attributes that [KeepXattr] allows; nil if none.
	Xattrs map[string]string
}

// Counter is a [Tree] that knows how much it holds without reading it.
type Counter interface {
	// Count returns how many names there are below the root, and how many bytes of
	// content regular files have, of those with several names for each. 0: it does not
	// know.
	Count() (files, bytes int64)
}

// Count counts a tree that is a [Counter]; of others it knows nothing.
func Count(t Tree) (files, bytes int64) {
	if c, ok := t.(Counter); ok {
		return c.Count()
	}
	return 0, 0
}

// UnknownTime is the MTime of a directory whose time is not in the layers, and
// depends on when they were unpacked.
const UnknownTime = math.MaxInt64

// Type returns the file type bits, one of unix.S_IFREG, S_IFDIR, ….
func (m *Meta) Type() uint32 { return m.Mode & unix.S_IFMT }

// IsDir reports whether this is a directory.
func (m *Meta) IsDir() bool { return m.Type() == unix.S_IFDIR }

// IsRegular reports whether this is a regular file.
func (m *Meta) IsRegular() bool { return m.Type() == unix.S_IFREG }

// IsSymlink reports whether this is a symbolic link.
func (m *Meta) IsSymlink() bool { return m.Type() == unix.S_IFLNK }

// ModTime returns the modification time in UTC.
func (m *Meta) ModTime() time.Time { return time.Unix(m.MTime, int64(m.MTimeNsec)).UTC() }

// Entry is one name in a directory.
type Entry struct {
	// Name is a single path component, any bytes but '/' and NUL.
	Name string
	Meta
	// Digest is the content's digest, if the tree knows it without reading the
	// file.
	Digest Digest
	// Inode identifies the file of a hard link: entries of one tree with the same
	// Inode are names of one file. The zero value means that no other name is
	// known.
	Inode Inode
	// Stamp identifies the state of a file on this host. If it is equal at two
	// times, the file has not changed in between. It is zero in trees that cannot
	// change.
	Stamp Stamp
}

// Inode identifies a file within one tree.
type Inode struct{ Dev, Ino uint64 }

// Stamp is a file's identity and times, as stat returns them. Times are in
// nanoseconds.
type Stamp struct {
	Dev, Ino     uint64
	CTime, MTime int64
}

// Dir is one directory of a tree. Its methods may be called concurrently. It has no
// open descriptor between calls, unless it is a [Holder]. Close releases everything
// that it has open, and may be called more than once.
type Dir interface {
	// Entries returns all entries of the directory, sorted by Name bytewise,
	// without "." and "..". The caller owns the slice.
	Entries(ctx context.Context) ([]Entry, error)
	// Sub returns the child directory of that name. It does not follow symbolic
	// links. An error that is ENOTDIR or ELOOP means that the child is not a
	// directory, or not any more.
	Sub(name string) (Dir, error)
	// Open opens the child regular file of that name for reading. It does not
	// follow symbolic links, and does not block on a FIFO.
	Open(name string) (File, error)
	// Close releases the directory; its Subs stay usable.
	Close() error
}

// entryLists are slices for [MakeEntries], with no entry in them.
var entryLists sync.Pool

// maxReused is the length from which a slice is not kept for reuse.
const maxReused = 1 << 10

// MakeEntries is make([]Entry, n). Implementations of [Dir.Entries] use it, so that
// those who walk a tree and keep nothing of it need memory for a few directories alone.
func MakeEntries(n int) []Entry {
	if kept, ok := entryLists.Get().(*[]Entry); ok && cap(*kept) >= n {
		return (*kept)[:n]
	}
	return make([]Entry, n, max(n, 16))
}

// ReuseEntries gives back what [Dir.Entries] returned, if the caller and all whom it
// gave the slice are done with it. Nobody has to.
func ReuseEntries(entries []Entry) {
	if cap(entries) > maxReused {
		return
	}
	clear(entries[:cap(entries)])
	entryLists.Put(&entries)
}

// Expecter is a [Dir] that can read its files faster if it knows in advance which
// ones will be read.
type Expecter interface {
	// Expect announces that the child regular file of that name will be opened.
	Expect(name string)
}

// Holder is a [Dir] that can stay open until it is closed, so that it is read
// faster. It works without that too.
type Holder interface {
	// Hold opens the directory. Its error is the one that Entries would return.
	Hold() error
}

// Stater is a [Dir] that knows its own entry without its parent directory.
type Stater interface {
	// Stat returns the directory's entry as it is now. Its error is the one that Entries
	// would return.
	Stat() (Entry, error)
}

// Comparer is a [Dir] that may know without reading that another Dir is the same
// directory. Both trees must be open.
type Comparer interface {
	// Same reports whether the two are known to be the same, with everything below
	// them. false: not known.
	Same(other Dir) bool
}

// SameDir reports whether two directories are known to be the same.
func SameDir(a, b Dir) bool {
	c, ok := a.(Comparer)
	return ok && c.Same(b)
}

// File is the content of a regular file.
type File interface {
	io.ReadCloser
	// Stamp returns the file's state now. It is zero in trees that cannot change.
	Stamp() (Stamp, error)
}

// Random is a [File] of which any part can be read.
type Random interface {
	File
	io.ReaderAt
	// Size is the number of bytes that it had when it was opened.
	Size() int64
}

// Tree is a rooted file tree.
type Tree interface {
	// Root returns the root directory, and its entry with an empty Name. If the
	// tree is a single file, Dir is nil, the entry is the file's, and [Tree.Open]
	// opens it.
	Root(ctx context.Context) (Entry, Dir, error)
	// Open opens the root, if that is a regular file.
	Open() (File, error)
	// Close releases the tree.
	Close() error
}

// CompareNames orders names within a directory, bytewise.
func CompareNames(a, b Entry) int { return cmp.Compare(a.Name, b.Name) }

// JoinPath joins a directory's path, relative to the root, and a name. The root's
// path is empty.
func JoinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
