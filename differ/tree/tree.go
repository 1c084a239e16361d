package tree

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// The longest names that can be unpacked anywhere.
const (
	// MaxPath is the length of a path or link target; Linux's PATH_MAX
	// counts the NUL, so nothing longer can be unpacked anywhere.
	MaxPath = unix.PathMax - 1
	// MaxName is the length of one path component, Linux's NAME_MAX.
	MaxName = 255
)

// What the errors of local directories wrap, where a caller can do something about it.
var (
	// ErrMountPoint says that a path of a local tree lies on another mount than
	// the tree's root, which is not entered.
	ErrMountPoint = errors.New("is a mount point")
	// ErrOverlayFeature says that a directory uses a feature of overlayfs that only
	// the kernel can resolve: such a base is read through a mount.
	ErrOverlayFeature = errors.New("uses a feature of overlayfs that needs a mount")
)

// Digest is the SHA-256 of a regular file's content. The zero value means
// that it is not known.
type Digest [sha256.Size]byte

// Known reports whether the digest is known.
func (d Digest) Known() bool { return d != Digest{} }

// Meta is all that a layer can store of a file apart from its name and content.
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

// UnknownTime is the MTime of a directory whose time depends on when it was
// unpacked: nothing in the layers says it.
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
	// Digest is the content's digest where the tree knows it without reading.
	Digest Digest
	// Inode names the file behind a hard link: entries of one tree with the
	// same Inode are names of one file. The zero value: no other name is known.
	Inode Inode
	// Stamp identifies the state of a file on this host, to notice that it
	// changed between two looks at it; zero for trees that cannot change.
	Stamp Stamp
}

// Inode identifies a file within one tree.
type Inode struct{ Dev, Ino uint64 }

// Stamp is what stat tells of a file's identity and age, in nanoseconds.
type Stamp struct {
	Dev, Ino     uint64
	CTime, MTime int64
}

// Dir is one directory of a tree. Its methods may be called concurrently.
// A Dir holds no descriptor between calls unless its implementation says so;
// Close releases what it holds and may be called more than once.
type Dir interface {
	// Entries lists the directory, sorted by Name bytewise, without "." and
	// "..". The caller owns the slice. A large directory is listed whole.
	Entries(ctx context.Context) ([]Entry, error)
	// Sub returns the child directory of that name. It does not follow
	// symbolic links; an error that is ENOTDIR or ELOOP means that the child
	// is no directory (any more).
	Sub(name string) (Dir, error)
	// Open opens the child regular file of that name for reading, without
	// following symbolic links and without ever blocking on a FIFO.
	Open(name string) (File, error)
	// Close releases the directory; its Subs stay usable.
	Close() error
}

// Expecter is implemented by a [Dir] to which reading its files costs less if
// it knows beforehand which ones.
type Expecter interface {
	// Expect says that the child regular file of that name will be opened.
	Expect(name string)
}

// Holder is a [Dir] that can keep what it needs to be read quickly, such as a
// descriptor, until it is closed. It works without, only slower.
type Holder interface {
	// Hold opens the directory; the error is what Entries would return.
	Hold() error
}

// Comparer is a [Dir] that can tell without reading that another one, of
// whichever tree, is one and the same directory. Both trees must be open.
type Comparer interface {
	// Same reports whether all below the two is the same; false: not known.
	Same(other Dir) bool
}

// SameDir reports whether two directories are known to be one and the same.
func SameDir(a, b Dir) bool {
	c, ok := a.(Comparer)
	return ok && c.Same(b)
}

// File is the content of a regular file.
type File interface {
	io.ReadCloser
	// Stamp returns the file's state now; zero for trees that cannot change.
	Stamp() (Stamp, error)
}

// Tree is a rooted file tree.
type Tree interface {
	// Root returns the root directory's own metadata (Name is empty) and the
	// directory. Where the tree is a single file, Dir is nil and the entry is
	// the file's, opened by [Tree.Open].
	Root(ctx context.Context) (Entry, Dir, error)
	// Open opens the root where that is a regular file.
	Open() (File, error)
	// Close releases the tree.
	Close() error
}

// CompareNames orders names within a directory, bytewise.
func CompareNames(a, b Entry) int { return cmp.Compare(a.Name, b.Name) }

// JoinPath joins a path below the root, which is empty for the root itself, and a name.
func JoinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
