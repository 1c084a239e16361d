package compression

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/mikelolasagasti/xz"
)

// DecompressArchive is [Decompress] for an archive of files, which people also
// compress with bzip2 and xz. A layer of an image cannot be of these.
func DecompressArchive(r io.Reader) (io.ReadCloser, string, error) {
	br := bufio.NewReaderSize(r, readSize)
	head, err := br.Peek(HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("read magic: %w", err)
	}
	switch name, _ := Detect(head); name {
	case "bzip2":
		return plain{bzip2.NewReader(br)}, name, nil // It needs 4 MB at most.
	case "xz":
		zr, err := xz.NewReader(br, maxWindow)
		if err != nil {
			return nil, "", fmt.Errorf("read %s header: %w", name, xzError(err))
		}
		return plain{xzReader{zr}}, name, nil
	}
	return Decompress(br)
}

// xzReader reads a stream of xz, whose history is bounded as that of zstd is.
type xzReader struct{ r io.Reader }

// Read implements [io.Reader].
func (x xzReader) Read(p []byte) (int, error) {
	n, err := x.r.Read(p)
	return n, xzError(err)
}

func xzError(err error) error {
	switch {
	case errors.Is(err, xz.ErrMemlimit):
		return fmt.Errorf("an xz dictionary in it is above the limit of %d MiB: %w", maxWindow>>20, ErrWindow)
	case errors.Is(err, xz.ErrBuf):
		return io.ErrUnexpectedEOF
	}
	return err
}
