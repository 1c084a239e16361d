package compression

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the history that a zstd stream may ask to keep in memory: what
// zstd --long takes, and the most that its command reads without being told to.
const maxWindow = 128 << 20

const (
	// readSize suits what r usually is: content read over gRPC is fast from 1 MiB on.
	readSize = 1 << 20
	// peekSize is a block of a tar, by which it is known.
	peekSize = 512
)

// foreignMagic are the formats that are recognised only to be named.
var foreignMagic = []struct{ magic, name string }{
	{"BZh", "bzip2"},
	{"\xfd7zXZ\x00", "xz"},
	{"\x04\x22\x4d\x18", "lz4"},
	{"LZIP\x01", "lzip"},
	{"]\x00\x00\x80\x00", "lzma"},
	{"\x1f\x9d", "compress (.Z)"},
	{"7z\xbc\xaf\x27\x1c", "7-Zip"},
	{"PK\x03\x04", "ZIP"},
	{"Rar!\x1a\x07", "RAR"},
}

// ErrFormat is in the chain of errors about formats that Veneer does not read.
var ErrFormat = errors.New("format is not supported")

// Decompress finds out by the first bytes how r is compressed and returns the
// plain stream with the name of the compression: "gzip" (of any number of
// members), "zstd" or "none". It reads r in large pieces and ahead of what it
// returns. Close releases the decompressor; it does not close r. A stream that
// ends early gives io.ErrUnexpectedEOF.
func Decompress(r io.Reader) (io.ReadCloser, string, error) {
	br := bufio.NewReaderSize(r, readSize)
	head, err := br.Peek(peekSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("read magic: %w", err)
	}
	switch {
	case len(head) == peekSize && string(head[257:262]) == "ustar":
		// A tar, whatever the name of its first entry looks like.
		return plain{br}, "none", nil
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		zr, err := gzip.NewReader(br)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, "", fmt.Errorf("read gzip header: %w", err)
		}
		return zr, "gzip", nil
	case isZstd(head):
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, "", fmt.Errorf("read zstd header: %w", err)
		}
		return zr.IOReadCloser(), "zstd", nil
	}
	for _, f := range foreignMagic {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return nil, "", fmt.Errorf("%s %w: recompress it with gzip or zstd", f.name, ErrFormat)
		}
	}
	return plain{br}, "none", nil
}

// plain passes on Read only: bufio's WriteTo works in small pieces.
type plain struct{ io.Reader }

func (plain) Close() error { return nil }

// isZstd knows frames and skippable frames (RFC 8878, section 3.1), which
// zstd:chunked and pzstd begin with.
func isZstd(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")) ||
		len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18"
}
