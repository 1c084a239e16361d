package index

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/internal/ahead"
)

const (
	blockSize = 512 // of a tar
	// maxHoles is the greatest number of zero bytes in the holes of one layer's
	// sparse files. They take no space in the tar, but are hashed here, and written
	// by unpackers.
	maxHoles = 64 << 30
	// paxXattr is the prefix of PAX records that hold extended attributes.
	paxXattr = "SCHILY.xattr."
)

// ScanLayer makes the index of one layer from its uncompressed tar, in one pass:
// the entries, the SHA-256 of every content, and the SHA-256 of the whole. Bytes
// after the end of the archive only count for the DiffID. r is read to its end, so
// that the caller can verify the digest of the blob that r comes from.
//
// It returns an error for layers that containerd cannot unpack. When ScanLayer
// returns, r is no longer in use. If ctx is cancelled, it returns as soon as a
// pending Read of r returns.
//
// The layers of an image share a budget. Without one (nil) only the limits of one
// layer hold.
func ScanLayer(ctx context.Context, r io.Reader, b *Budget) (*Index, error) {
	x, _, err := scan(ctx, r, scanOptions{diffID: true, shared: b})
	if err != nil {
		return nil, fmt.Errorf("scan layer: %w", err)
	}
	return x, nil
}

// ScanArchive makes the index of a user's archive. accept checks each entry before
// it is recorded, and may change it. Types of regular files that containerd refuses
// in layers are accepted. There is no DiffID. ended: the archive has its end mark,
// which layers may lack.
func ScanArchive(ctx context.Context, r io.Reader, accept func(*tar.Header) error) (x *Index, ended bool, err error) {
	return scan(ctx, r, scanOptions{accept: accept, lax: true})
}

// scanOptions are the differences between layers and archives of users.
type scanOptions struct {
	diffID bool
	// accept checks an entry before it is recorded, and may change it.
	accept func(*tar.Header) error
	// lax accepts types of regular files that only containerd refuses.
	lax bool
	// maxHoles replaces the constant of that name if it is not 0.
	maxHoles int64
	shared   *Budget
	// sink takes each record in place of the index.
	sink func(*Record) error
}

// scan makes an index. ended: the end mark of the archive was there, which layers
// may lack.
func scan(ctx context.Context, r io.Reader, o scanOptions) (x *Index, ended bool, err error) {
	if o.maxHoles == 0 {
		o.maxHoles = maxHoles
	}
	s := &scanner{o: o, alive: ctx.Err, x: &Index{}, buf: make([]byte, 64<<10), sum: sha256.New(), budget: budget{shared: o.shared}}
	var sum hash.Hash
	if o.diffID {
		sum = sha256.New()
	}
	s.in = ahead.Start(ctx, r, sum)
	defer s.in.Stop()
	s.tr = tar.NewReader(s.in)
	if err := s.entries(); err != nil {
		return nil, false, err
	}
	ended = s.in.Pos() > s.header
	if err := s.in.Drain(); err != nil {
		return nil, false, err
	}
	if s.in.Stop(); sum != nil {
		sum.Sum(s.x.DiffID[:0])
	}
	return s.x, ended, nil
}

type scanner struct {
	o      scanOptions
	alive  func() error // the context's
	x      *Index
	in     *ahead.Reader
	tr     *tar.Reader
	header int64 // position of the entry's first header
	holes  int64
	buf    []byte
	sum    hash.Hash
	budget budget
}

func (s *scanner) entries() error {
	for {
		s.header = roundBlock(s.in.Pos())
		h, err := s.tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read entry %d at byte %d: %w", len(s.x.Records)+1, s.header, unexpected(err))
		}
		if s.o.accept != nil {
			if err := s.o.accept(h); err != nil {
				return err
			}
		}
		r, err := s.record(h)
		if err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
		if err := s.content(h, &r); err != nil {
			return fmt.Errorf("entry %q: read content: %w", h.Name, unexpected(err))
		}
		if err := s.budget.add(&r); err != nil {
			return err
		}
		if s.o.sink != nil {
			err = s.o.sink(&r)
		} else {
			s.x.Records = append(s.x.Records, r)
		}
		if err != nil {
			return err
		}
	}
}

// record returns a header as a record. The mode has only the permission bits, as
// unpackers use it. The file type comes from the type flag.
func (s *scanner) record(h *tar.Header) (Record, error) {
	r := Record{Path: path.Clean(h.Name), Offset: s.in.Pos()}
	r.Mode = uint32(h.Mode & 0o7777)
	if h.Typeflag != tar.TypeXGlobalHeader {
		if err := checkOwner(h); err != nil {
			return r, err
		}
	}
	r.UID, r.GID = uint32(h.Uid), uint32(h.Gid)
	r.MTime, r.MTimeNsec = h.ModTime.Unix(), int32(h.ModTime.Nanosecond())
	r.Xattrs = keptXattrs(h)
	switch h.Typeflag {
	case tar.TypeReg:
		r.Mode |= unix.S_IFREG
	case tar.TypeGNUSparse, tar.TypeCont:
		if !s.o.lax {
			return r, unsupported(h.Typeflag)
		}
		r.Mode |= unix.S_IFREG
	case tar.TypeDir:
		r.Mode |= unix.S_IFDIR
	case tar.TypeSymlink:
		r.Mode, r.Link = unix.S_IFLNK|0o777, h.Linkname
	case tar.TypeLink:
		r.Kind, r.Link = KindLink, h.Linkname
	case tar.TypeXGlobalHeader:
		// Other fields of it have no meaning.
		r = Record{Path: r.Path, Offset: r.Offset, Kind: KindGlobal}
	case tar.TypeFifo:
		r.Mode |= unix.S_IFIFO
	case tar.TypeChar, tar.TypeBlock:
		var err error
		if r.Rdev, err = device(h); err != nil {
			return r, err
		}
		r.Mode |= unix.S_IFCHR
		if h.Typeflag == tar.TypeBlock {
			r.Mode ^= unix.S_IFCHR ^ unix.S_IFBLK
		}
	default:
		return r, unsupported(h.Typeflag)
	}
	if len(h.PAXRecords) > 0 {
		// PAX values are parts of one string for the whole header. A copy of the
		// name does not keep that string in memory.
		r.Path, r.Link = strings.Clone(r.Path), strings.Clone(r.Link)
	}
	return r, r.check()
}

// checkOwner returns an error for numbers over 32 bits. chown(2) would drop the
// upper bits, and 4294967296 would become root.
func checkOwner(h *tar.Header) error {
	if h.Uid < 0 || h.Uid > math.MaxUint32 || h.Gid < 0 || h.Gid > math.MaxUint32 {
		return fmt.Errorf("owner %d:%d is out of range: Linux has owners from 0 to 4294967294; make the archive or layer again with other numbers", h.Uid, h.Gid)
	}
	return nil
}

// device returns the number of a device. mknod(2) takes 12 bits of the major and 20
// bits of the minor number, and drops the others.
func device(h *tar.Header) (uint64, error) {
	if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
		return 0, fmt.Errorf("device number %d:%d is out of range: Linux has up to 4095:1048575", h.Devmajor, h.Devminor)
	}
	return unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)), nil
}

func unsupported(flag byte) error {
	return fmt.Errorf("tar type %q is not supported", flag)
}

func keptXattrs(h *tar.Header) map[string]string {
	var kept map[string]string
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, paxXattr)
		if !ok || !tree.KeepXattr(name) {
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[strings.Clone(name)] = strings.Clone(v)
	}
	return kept
}

// content hashes the entry's bytes and counts them. It does not rely on the size in
// the header.
func (s *scanner) content(h *tar.Header, r *Record) error {
	if !r.IsRegular() || r.Kind != KindFile {
		return nil
	}
	start := s.in.Pos()
	s.sum.Reset()
	for {
		// Holes are not read from the input, so the context is checked here.
		if err := s.alive(); err != nil {
			return err
		}
		n, err := s.tr.Read(s.buf)
		s.sum.Write(s.buf[:n])
		r.Size += int64(n)
		if s.holes+r.Size-(s.in.Pos()-start) > s.o.maxHoles {
			return fmt.Errorf("sparse files with more than %d bytes of holes: %w", s.o.maxHoles, ErrLimit)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if r.Size != h.Size {
		return io.ErrUnexpectedEOF
	}
	s.sum.Sum(r.Digest[:0])
	if stored := s.in.Pos() - start; stored != r.Size || h.Typeflag == tar.TypeGNUSparse {
		s.holes += r.Size - stored
		r.Sparse, r.Offset = true, s.header
	}
	return nil
}

func roundBlock(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }
