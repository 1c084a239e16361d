package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// readSize is how much is read from the source at once; it covers the first
// tar header, by which an uncompressed archive is known.
const readSize = 1 << 20

// maxWindow bounds the memory that a zstd archive may ask for. zstd --ultra
// --long=27 needs 128 MiB.
const maxWindow = 128 << 20

// A compressed archive may be so much larger than what was read of it. Files of
// images shrink to a half or a tenth; without a bound a small file could fill
// the disk. What is truly that sparse can be loaded without compression.
const (
	maxRatio   = 200
	ratioSlack = 64 << 20
)

// format is a file format by its first bytes.
type format struct {
	name   string
	offset int
	magic  string
}

// unsupported formats are recognised to be named in the error.
var unsupported = []format{
	{"xz", 0, "\xfd7zXZ\x00"},
	{"bzip2", 0, "BZh"},
	{"lz4", 0, "\x04\x22\x4d\x18"},
	{"lzip", 0, "LZIP"},
	{"compress (.Z)", 0, "\x1f\x9d"},
	{"zip", 0, "PK\x03\x04"},
	{"7z", 0, "7z\xbc\xaf\x27\x1c"},
	{"SquashFS", 0, "hsqs"},
	{"JSON", 0, "{"},
}

const (
	gzipMagic = "\x1f\x8b"
	zstdMagic = "\x28\xb5\x2f\xfd"
	tarMagic  = "ustar" // at tarMagicOffset, of POSIX and GNU tar alike
	tarOffset = 257
)

// decompress returns the tar stream in r: plain, gzip or zstd, by its first
// bytes and not by any name. The caller closes the result, not r.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, readSize)
	head, err := br.Peek(tarOffset + len(tarMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	packed := &counter{r: br}
	switch {
	case len(head) == 0:
		return nil, fmt.Errorf("read archive: it is empty: %w", errdefs.ErrInvalidArgument)
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		zr, err := gzip.NewReader(packed)
		if err != nil {
			return nil, fmt.Errorf("read gzip archive: %w", err)
		}
		return &bounded{ReadCloser: zr, compression: "gzip", packed: packed}, nil
	case bytes.HasPrefix(head, []byte(zstdMagic)):
		zr, err := zstd.NewReader(packed, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("read zstd archive: %w", err)
		}
		return &bounded{ReadCloser: zr.IOReadCloser(), compression: "zstd", packed: packed}, nil
	case hasAt(head, tarOffset, tarMagic):
		return io.NopCloser(br), nil
	}
	for _, f := range unsupported {
		if hasAt(head, f.offset, f.magic) {
			return nil, fmt.Errorf("read archive: it is a %s file; veneer reads OCI and Docker image archives, plain or compressed by gzip or zstd: %w", f.name, errdefs.ErrInvalidArgument)
		}
	}
	return nil, fmt.Errorf("read archive: not a tar archive, plain or compressed by gzip or zstd: %w", errdefs.ErrInvalidArgument)
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded ends what becomes too large for what it was unpacked from.
type bounded struct {
	io.ReadCloser
	compression string
	packed      *counter
	n           int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.n += int64(n); b.n > ratioSlack+maxRatio*b.packed.n {
		return n, fmt.Errorf("it unpacks to more than %d times its size, which no image should; if you trust it, unpack it first (gunzip, unzstd): %w", maxRatio, errdefs.ErrInvalidArgument)
	}
	return n, err
}

func hasAt(data []byte, offset int, magic string) bool {
	return len(data) >= offset && bytes.HasPrefix(data[offset:], []byte(magic))
}
