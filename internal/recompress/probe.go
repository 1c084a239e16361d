package recompress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/ctxio"
)

// pieceSize is the number of bytes that a compressor gets at once, as when layers are
// written.
const pieceSize = 256 << 10

// Probe returns the generation that makes a blob of its tar, or "" if none of those
// that are known does. A wrong one is given up at the first byte that differs, which
// is in the first block for most; so of the blob little is read more than once.
func Probe(ctx context.Context, blob io.ReaderAt, size int64) (Generation, error) {
	head := make([]byte, compression.HeadSize)
	n, err := io.ReadFull(io.NewSectionReader(blob, 0, size), head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", fmt.Errorf("read the blob: %w", err)
	}
	name, kind := compression.Detect(head[:n])
	switch {
	case kind == compression.Foreign:
		return "", nil
	case kind != compression.Compressed:
		return None, nil
	}
	for _, g := range candidates(name) {
		same, err := g.makes(ctx, blob, size)
		if err != nil {
			return "", err
		}
		if same {
			return g, nil
		}
	}
	return "", nil
}

// candidates are the generations of a compression, the most likely first.
func candidates(name string) (list []Generation) {
	if name == "zstd" {
		// All levels of zstd are those of four speeds.
		for _, level := range []int{0, 1, 7, 19} {
			list = append(list, of(veneerZstd, level))
		}
		return list
	}
	families := []string{veneerGzip, goGzip, pgzipGzip, kGzip}
	for _, level := range []int{0, 9, 1, 2, 3, 4, 5, 6, 7, 8} {
		for _, family := range families {
			list = append(list, of(family, level))
		}
	}
	return list
}

// makes reports whether a generation makes the blob again.
func (g Generation) makes(ctx context.Context, blob io.ReaderAt, size int64) (bool, error) {
	tar, _, err := compression.Decompress(ctxio.Reader(ctx, io.NewSectionReader(blob, 0, size)))
	if err != nil {
		return false, fmt.Errorf("read the blob: %w", err)
	}
	defer tar.Close()
	want := &expected{r: bufio.NewReaderSize(io.NewSectionReader(blob, 0, size), pieceSize)}
	z, err := g.NewWriter(want)
	if err != nil {
		return false, err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{z}, struct{ io.Reader }{source{tar, want}}, make([]byte, pieceSize))
	closeErr := z.Close()
	var bad *sourceError
	switch {
	case errors.As(err, &bad):
		return false, fmt.Errorf("read the blob: %w", bad.error)
	case want.err != nil:
		return false, want.err
	case want.differs.Load():
		return false, nil
	case err != nil || closeErr != nil:
		return false, errors.Join(err, closeErr)
	}
	return want.n == size, nil
}

// source tells errors of reading from those of writing. It ends where the writer has
// seen enough: a compressor that fails instead may leave goroutines behind.
type source struct {
	r    io.Reader
	want *expected
}

type sourceError struct{ error }

// Read implements [io.Reader].
func (s source) Read(p []byte) (int, error) {
	if s.want.over.Load() {
		return 0, io.EOF
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &sourceError{err}
	}
	return n, err
}

// expected is a writer that compares what comes with what was expected. What comes
// after the first difference, or after an error of r, it only takes.
type expected struct {
	r   io.Reader
	buf []byte
	n   int64
	err error // of r
	// over says that there is nothing more to find out, and differs that it was a
	// difference. Some compressors write from a goroutine of their own.
	over, differs atomic.Bool
}

// Write implements [io.Writer]. It never fails.
func (e *expected) Write(p []byte) (int, error) {
	if e.over.Load() {
		return len(p), nil
	}
	if cap(e.buf) < len(p) {
		e.buf = make([]byte, len(p))
	}
	buf := e.buf[:len(p)]
	n, err := io.ReadFull(e.r, buf)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		e.err = err
		e.over.Store(true)
	case !bytes.Equal(buf[:n], p):
		e.differs.Store(true)
		e.over.Store(true)
	}
	e.n += int64(n)
	return len(p), nil
}
