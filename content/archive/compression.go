package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/fault"
)

// readSize is the length of one read of the source. It is more than the first tar
// header, by which an uncompressed archive is recognised.
const readSize = 128 << 10

// A compressed archive may expand to at most this much of its size. Images shrink
// to a half or a tenth. Without a limit a small file could fill the disk. An
// archive that really shrinks more can be loaded without compression.
const (
	maxRatio   = 200
	ratioSlack = 64 << 20
)

// decompress returns the tar stream in r. It recognises plain, gzip and zstd by the
// first bytes, not by a name. The caller closes the result, not r.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, readSize)
	head, err := br.Peek(compression.HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	if len(head) == 0 {
		return nil, fmt.Errorf("read archive: it is empty: %w", errdefs.ErrInvalidArgument)
	}
	switch name, kind := compression.Detect(head); kind {
	case compression.Tar:
		return io.NopCloser(br), nil
	case compression.Compressed:
		packed := &counter{r: br}
		b := &bounded{compression: name, packed: packed}
		if b.ReadCloser, err = compression.NewReader(name, packed); err != nil {
			return nil, fmt.Errorf("read %s archive: %w", name, b.damaged(err))
		}
		return b, nil
	case compression.Unknown:
		return nil, fmt.Errorf("read archive: not a tar archive, plain or compressed by gzip or zstd: %w", errdefs.ErrInvalidArgument)
	default:
		return nil, fmt.Errorf("read archive: it is a %s file; veneer reads OCI and Docker image archives, plain or compressed by gzip or zstd: %w", name, errdefs.ErrInvalidArgument)
	}
}

// counter counts the bytes read.
type counter struct {
	r   io.Reader
	n   int64
	err error // that reading ended with; nil: none, or the end
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// bounded returns an error when the stream is too large for the compressed bytes
// read.
type bounded struct {
	io.ReadCloser
	compression string
	packed      *counter
	n           int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.damaged(err)
	}
	if b.n += int64(n); b.n > ratioSlack+maxRatio*b.packed.n {
		return n, fmt.Errorf("it unpacks to more than %d times its size, which no image should; if you trust it, unpack it first (gunzip, unzstd): %w", maxRatio, errdefs.ErrInvalidArgument)
	}
	return n, err
}

// damaged marks the error of a stream that cannot be decompressed. Errors of reading
// it stay as they are, as does that of one that ends early, which [readError] marks.
func (b *bounded) damaged(err error) error {
	if b.packed.err != nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, compression.ErrWindow) {
		return err
	}
	return fault.Mark(content.ErrCorrupt, fmt.Errorf("its %s stream is damaged: %w", b.compression, err))
}
