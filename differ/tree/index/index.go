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

// Limits of an index. They bound what a hostile layer can make Veneer
// allocate; no layer that is of any use comes near them.
const (
	// MaxRecords is the number of entries in one layer. The largest layers
	// seen in the wild have about 2 million.
	MaxRecords = 4 << 20
	// MaxText is the sum of the lengths of a layer's paths, link targets and
	// xattrs: 128 bytes for each of MaxRecords.
	MaxText = 512 << 20
	// maxXattr is the length of an attribute's name or value, Linux's
	// XATTR_SIZE_MAX: nothing longer can be unpacked anywhere.
	maxXattr = 64 << 10
	// maxXattrNames is the length of all names of a file's attributes together,
	// Linux's XATTR_LIST_MAX: with more of them nobody could read them back.
	maxXattrNames = 64 << 10
)

// The names that layers give a meaning to: image-spec, layer.md, "Whiteouts".
const (
	WhiteoutPrefix = ".wh."
	OpaqueMarker   = ".wh..wh..opq"
)

// ErrLimit is in the chain of errors about layers too large to be genuine.
var ErrLimit = errors.New("over the limit for one layer")

// RecordKind says what an entry of a layer's tar does.
type RecordKind uint8

const (
	// KindFile is a file of the type that Meta.Mode tells, or by its name a
	// whiteout or an opaque marker.
	KindFile RecordKind = iota
	// KindLink is a hard link to the path in Meta.Link. Meta holds the
	// entry's own mode (without type bits), owner, time and xattrs, which
	// unpackers apply to the file that it shares.
	KindLink
	// KindGlobal is a PAX global header. It makes no file, but containerd
	// clears whatever has the name that the archiver gave it.
	KindGlobal
)

// Record is one entry of a layer's tar.
type Record struct {
	// Path is the entry's name after path.Clean: "etc/passwd", not
	// "./etc/passwd". It may be absolute and may begin with "..", as in the
	// tar; [Merge] confines it to the root. "." and "/" are the root itself.
	Path string
	tree.Meta
	// Digest is the content's, known for every regular file.
	Digest tree.Digest
	// Offset is where the content begins in the uncompressed tar. Where
	// Sparse is set it is where the entry's first header begins, since only a
	// tar reader can restore the content.
	Offset int64
	Kind   RecordKind
	Sparse bool
}

// Opaque reports whether the record hides what lower layers have in its directory.
func (r *Record) Opaque() bool { return path.Base(r.Path) == OpaqueMarker }

// Whiteout returns the path that the record deletes, in the form of Path.
func (r *Record) Whiteout() (string, bool) {
	dir, base := path.Split(r.Path)
	if base == OpaqueMarker || !strings.HasPrefix(base, WhiteoutPrefix) {
		return "", false
	}
	return dir + base[len(WhiteoutPrefix):], true
}

// Index is all that there is to know of one layer without its bytes. It never
// changes, so that it can be kept under the layer's digest for ever. Who
// writes a layer can make its index on the way: one Record for each entry.
type Index struct {
	// Records are in tar order, which matters: later entries replace earlier ones.
	Records []Record
	// DiffID is the SHA-256 of the whole uncompressed tar.
	DiffID tree.Digest
}

// Budget bounds the indexes of several layers together, as those of all images
// that one command reads: each may have as much as one layer may, and all of them
// no more either, and less where their blobs are small. A megabyte of zeros,
// compressed, would else become a gigabyte of records. It may be used
// concurrently; the zero value is for layers of no size, and nil bounds nothing.
type Budget struct{ stored, records, text atomic.Int64 }

// What layers may hold beyond what their blobs account for. A layer of a
// million small files passes whatever it was compressed to; a record of a
// larger one takes about ten bytes of its blob, and a path shrinks to a fifth.
const (
	freeRecords    = 1<<20 + 1<<16
	bytesPerRecord = 4
	freeText       = 64 << 20
	textPerByte    = 64
	xattrOverhead  = 64 // bytes of memory for an attribute, beyond its text
)

// NewBudget returns what layers may hold whose blobs are so many bytes together.
func NewBudget(stored int64) *Budget {
	b := &Budget{}
	b.Allow(stored)
	return b
}

// Allow adds what further layers may hold whose blobs are so many bytes together.
func (b *Budget) Allow(stored int64) { b.stored.Add(min(stored, MaxText)) }

// Again counts the entries of a layer once more, which an image lists again: its
// index is held once, but merged it has as many files as before. The error wraps
// [ErrLimit].
func (b *Budget) Again(x *Index) error { return b.take(int64(len(x.Records)), 0) }

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

// budget counts what the limits bound while an index is read.
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

// check reports what no genuine record has, so that neither a tar nor a stored
// index can bring it in.
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
	names := 0
	for k, v := range r.Xattrs {
		if names += len(k) + 1; names > maxXattrNames {
			return fmt.Errorf("xattrs of %q with names of more than %d bytes: %w", r.Path, maxXattrNames, ErrLimit)
		}
		if len(k) > maxXattr || len(v) > maxXattr {
			return fmt.Errorf("xattr of %q with more than %d bytes: %w", r.Path, maxXattr, ErrLimit)
		}
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

// isClean reports whether path.Clean would leave p as it is. Every record of
// every index is asked, so it does not build the clean path to compare.
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

// textArena keeps many short strings in few allocations.
type textArena struct{ b strings.Builder }

func (a *textArena) add(s []byte) string {
	if a.b.Cap()-a.b.Len() < len(s) {
		// Strings handed out keep the old buffer, which is never written again.
		a.b.Reset()
		a.b.Grow(max(64<<10, len(s)))
	}
	start := a.b.Len()
	a.b.Write(s)
	return a.b.String()[start:]
}

// checkNames reports components longer than a file system takes.
func checkNames(p string) error {
	for c := range strings.SplitSeq(p, "/") {
		if len(c) > tree.MaxName {
			return fmt.Errorf("path component of %d bytes: %w", len(c), unix.ENAMETOOLONG)
		}
	}
	return nil
}
