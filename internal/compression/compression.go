package compression

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/veneer-build/veneer/internal/gunzip"
)

// readSize is how much is read at once. Who reads content over gRPC, which is fast from 1
// MiB on, reads it in larger chunks before.
const readSize = 128 << 10

// ErrFormat is in the chain of errors about formats that Veneer does not read.
var ErrFormat = errors.New("format is not supported")

// Decompress finds out by the first bytes how r is compressed and returns the
// plain stream with the name of the compression: "gzip" (of any number of
// members), "zstd" or "none". It reads r in large pieces and ahead of what it
// returns. Close releases the decompressor; it does not close r. A stream that
// ends early gives io.ErrUnexpectedEOF.
func Decompress(r io.Reader) (io.ReadCloser, string, error) {
	br := bufio.NewReaderSize(r, readSize)
	head, err := br.Peek(HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("read magic: %w", err)
	}
	switch name, kind := Detect(head); kind {
	case Compressed:
		zr, err := NewReader(name, br)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, "", fmt.Errorf("read %s header: %w", name, err)
		}
		return zr, name, nil
	case Foreign:
		return nil, "", fmt.Errorf("%s %w: recompress it with gzip or zstd", name, ErrFormat)
	}
	return plain{br}, "none", nil
}

// NewReader decompresses a stream of a format of the kind [Compressed]. The
// caller closes it; that does not close r. Of zstd, an error of this or of
// reading wraps [ErrWindow] where a stream wants too much memory.
func NewReader(format string, r io.Reader) (io.ReadCloser, error) {
	switch format {
	case "gzip":
		return gunzip.NewReader(r)
	case "zstd":
		return newZstd(r)
	}
	return nil, fmt.Errorf("decompress %s: %w", format, ErrFormat)
}

// plain passes on Read only: bufio's WriteTo works in small pieces.
type plain struct{ io.Reader }

func (plain) Close() error { return nil }
