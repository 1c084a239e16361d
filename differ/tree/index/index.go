package index

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
)

// Limits of an index. They bound how much memory a hostile layer can make Veneer
// allocate. Real layers stay far below.
const (
	// MaxRecords is the greatest number of entries in one layer. The largest known
	// layers have about 2 million.
	MaxRecords = 4 << 20
	// MaxText is the greatest sum of the lengths of a layer's paths, link targets
	// and xattrs, in bytes: 128 for each of MaxRecords.
	MaxText = 512 << 20
	// maxXattr is the greatest length of an attribute's name or value: Linux's
	// XATTR_SIZE_MAX.
	maxXattr = 64 << 10
	// maxXattrNames is the greatest length of all names of a file's attributes
	// together: Linux's XATTR_LIST_MAX. If there were more, they could not be
	// listed.
	maxXattrNames = 64 << 10
)

// ErrLimit is wrapped by errors about layers over a limit.
var ErrLimit = errors.New("over the limit for one layer")

// RecordKind is the kind of an entry in a layer's tar.
type RecordKind uint8

const (
	// KindFile is a file of the type in Meta.Mode. By its name it may be a whiteout
	// or an opaque marker.
	KindFile RecordKind = iota
	// KindLink is a hard link to the path in Meta.Link. Meta has the entry's own
	// mode (without type bits), owner, time and xattrs. Unpackers apply these to
	// the file that the names share.
	KindLink
	// KindGlobal is a PAX global header. It makes no file, but containerd removes
	// whatever has its name.
	KindGlobal
)

// Record is one entry of a layer's tar.
type Record struct {
	// Path is the entry's name after path.Clean: "etc/passwd", not "./etc/passwd".
	// It may be absolute or begin with "..", as in the tar: [Merge] resolves it
	// inside the root. "." and "/" are the root itself.
	Path string
	tree.Meta
	// Digest is the content's digest. It is known for every regular file.
	Digest tree.Digest
	// Offset is the position of the content in the uncompressed tar. If Sparse is
	// set, it is the position of the entry's first header, since only a tar reader
	// can restore the content.
	Offset int64
	Kind   RecordKind
	Sparse bool
}

// Opaque reports whether the record hides what lower layers have in its directory.
func (r *Record) Opaque() bool { return path.Base(r.Path) == tree.OpaqueMarker }

// Whiteout returns the path that the record deletes, in the form of Path.
func (r *Record) Whiteout() (string, bool) {
	dir, base := path.Split(r.Path)
	if base == tree.OpaqueMarker || !strings.HasPrefix(base, tree.WhiteoutPrefix) {
		return "", false
	}
	return dir + base[len(tree.WhiteoutPrefix):], true
}

// Index has everything about a layer except its bytes. It never changes, so it can
// be stored under the layer's digest. It can be made while a layer is written, with
// one Record for each entry.
type Index struct {
	// Records are in the order of the tar, since later entries replace earlier
	// ones.
	Records []Record
	// DiffID is the SHA-256 of the whole uncompressed tar.
	DiffID tree.Digest
}

// Len is how many records there are; 0 if there is no index.
func (x *Index) Len() int {
	if x == nil {
		return 0
	}
	return len(x.Records)
}

// Layer is the layer's diff ID.
func (x *Index) Layer() tree.Digest { return x.DiffID }

// Budget limits the indexes of several layers together, such as those of all images
// that one command reads. Together they may have as much as one layer may, and less
// if their blobs are small: a megabyte of compressed zeros would otherwise become a
// gigabyte of records. It may be used concurrently. The zero value is for blobs of
// zero bytes. A nil Budget has no limit.
type Budget struct{ stored, records, text atomic.Int64 }

// Allowances beyond what the size of the blobs accounts for. A layer of a million
// small files is always accepted. Beyond that, a record takes about ten bytes of
// its blob, and text is compressed to a fifth.
const (
	freeRecords    = 1<<20 + 1<<16
	bytesPerRecord = 4
	freeText       = 64 << 20
	textPerByte    = 64
	xattrOverhead  = 64 // bytes of memory for an attribute, beyond its text
)

// Allow raises the budget for further layers whose blobs have so many bytes
// together.
func (b *Budget) Allow(stored int64) { b.stored.Add(min(stored, MaxText)) }

// Again counts the entries of a layer that an image lists once more. Its index is
// in memory only once, but the merged tree has its files again. The error wraps
// [ErrLimit].
func (b *Budget) Again(x interface{ Len() int }) error { return b.take(int64(x.Len()), 0) }

func (b *Budget) take(records, text int64) error {
	if b == nil {
		return nil
	}
	stored := min(b.stored.Load(), MaxText)
	maxRecords := min(MaxRecords, freeRecords+stored/bytesPerRecord)
	maxText := min(MaxText, freeText+stored*textPerByte)
	if b.records.Add(records) > maxRecords {
		return fmt.Errorf("the layers have more than %d entries, which is too much for their size: %w", maxRecords, ErrLimit)
	}
	if b.text.Add(text) > maxText {
		return fmt.Errorf("the layers have more than %d bytes of paths and attributes, which is too much for their size: %w", maxText, ErrLimit)
	}
	return nil
}

// budget counts the records and text of one index while it is read.
type budget struct {
	records int
	text    int64
	shared  *Budget
}

// add counts a record; the error wraps [ErrLimit].
func (b *budget) add(r *Record) error {
	n := len(r.Path) + len(r.Link)
	for k, v := range r.Xattrs {
		n += len(k) + len(v) + xattrOverhead
	}
	b.records++
	b.text += int64(n)
	if b.records > MaxRecords {
		return fmt.Errorf("more than %d entries: %w", MaxRecords, ErrLimit)
	}
	if b.text > MaxText {
		return fmt.Errorf("more than %d bytes of paths and attributes: %w", MaxText, ErrLimit)
	}
	return b.shared.take(1, int64(n))
}

// check returns an error for values that no genuine record has. It is applied to
// tars and to stored indexes.
func (r *Record) check() error {
	if len(r.Path) > tree.MaxPath || len(r.Link) > tree.MaxPath {
		return fmt.Errorf("path of more than %d bytes: %w", tree.MaxPath, ErrLimit)
	}
	if r.Path == "" || !isClean(r.Path) {
		return fmt.Errorf("path %q is not clean", r.Path)
	}
	if strings.IndexByte(r.Path, 0) >= 0 || strings.IndexByte(r.Link, 0) >= 0 {
		return fmt.Errorf("path %q or its link target holds a NUL byte", r.Path)
	}
	if r.Size < 0 || r.Offset < 0 || r.MTimeNsec < 0 || r.MTimeNsec > 999_999_999 {
		return fmt.Errorf("size, offset or time of %q out of range", r.Path)
	}
	if err := r.checkXattrs(); err != nil {
		return err
	}
	switch r.Kind {
	case KindLink, KindGlobal:
		return nil
	case KindFile:
	default:
		return fmt.Errorf("unknown kind %d of record %q", r.Kind, r.Path)
	}
	switch r.Type() {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO:
		return nil
	}
	return fmt.Errorf("unknown file type %#o of %q", r.Type(), r.Path)
}

func (r *Record) checkXattrs() error {
	names := 0
	for k, v := range r.Xattrs {
		if names += len(k) + 1; names > maxXattrNames {
			return fmt.Errorf("xattrs of %q with names of more than %d bytes: %w", r.Path, maxXattrNames, ErrLimit)
		}
		if len(k) > maxXattr || len(v) > maxXattr {
			return fmt.Errorf("xattr of %q with more than %d bytes: %w", r.Path, maxXattr, ErrLimit)
		}
	}
	return nil
}

// isClean reports whether path.Clean would not change p. It is called for every
// record, so it does not build the clean path.
func isClean(p string) bool {
	if p == "." || p == "/" {
		return true
	}
	rest, rooted := strings.CutPrefix(p, "/")
	for climbing := !rooted; ; {
		c, more, found := strings.Cut(rest, "/")
		switch {
		case c == "" || c == ".":
			return false
		case c != "..":
			climbing = false
		case !climbing:
			return false
		}
		if !found {
			return true
		}
		rest = more
	}
}

// textArena stores many short strings in few allocations.
type textArena struct{ b strings.Builder }

func (a *textArena) add(s []byte) string {
	if a.b.Cap()-a.b.Len() < len(s) {
		// Strings that were returned keep the old buffer, which is never written
		// again.
		a.b.Reset()
		a.b.Grow(max(64<<10, len(s)))
	}
	start := a.b.Len()
	a.b.Write(s)
	return a.b.String()[start:]
}

// checkNames returns an error for path components longer than a file system allows.
func checkNames(p string) error {
	for c := range strings.SplitSeq(p, "/") {
		if len(c) > tree.MaxName {
			return fmt.Errorf("path component of %d bytes: %w", len(c), unix.ENAMETOOLONG)
		}
	}
	return nil
}
