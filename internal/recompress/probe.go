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

// probeHead is how much of a tar's beginning is kept, for the generations that are tried
// after a wrong one.
const probeHead = 2 << 20

// Probe returns the generation that makes a blob of its tar, or "" if none of those
// that are known does.
func Probe(ctx context.Context, blob io.ReaderAt, size int64) (Generation, error) {
	p, err := NewProber(blob, size)
	if err != nil {
		return "", err
	}
	defer p.Close()
	return p.Generation(ctx)
}

// Prober is [Probe] for who reads the tar anyway, and writes it to the Prober meanwhile: then the
// blob need not be decompressed for this.
//
// The generations are tried one after the other. A wrong one is given up at the first byte
// that differs, which is in the first block for most. The next one gets the tar's
// beginning again.
type Prober struct {
	blob io.ReaderAt
	size int64
	left []Generation // that may be it. The first one is tried.
	try  *attempt     // nil: none is, since nothing was written, or since the beginning is gone
	head []byte       // the tar's beginning
	n    int64        // bytes of the tar that were written
}

// NewProber returns a Prober of a blob, of which it reads the first bytes. The caller
// closes it.
func NewProber(blob io.ReaderAt, size int64) (*Prober, error) {
	head := make([]byte, max(compression.HeadSize, gzipHeadSize))
	n, err := io.ReadFull(io.NewSectionReader(blob, 0, size), head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read the blob: %w", err)
	}
	p := &Prober{blob: blob, size: size}
	switch name, kind := compression.Detect(head[:min(n, compression.HeadSize)]); kind {
	case compression.Foreign:
	case compression.Compressed:
		p.left = candidates(name, head[:n])
	default:
		p.left = []Generation{None}
	}
	return p, nil
}

// candidates are the generations of a compression, the most likely first. Those of gzip
// that write another header than the blob has are not among them.
func candidates(name string, head []byte) (list []Generation) {
	if name == "zstd" {
		// All levels of zstd are those of four speeds.
		for _, level := range []int{0, 1, 7, 19} {
			list = append(list, of(veneerZstd, level))
		}
		return list
	}
	for _, level := range []int{0, 9, 1, 2, 3, 4, 5, 6, 7, 8} {
		for _, family := range []string{veneerGzip, goGzip, pgzipGzip, kGzip} {
			time := uint32(zeroTime)
			if family == goGzip {
				time = 0
			}
			if h := gzipHead(time, level); bytes.HasPrefix(h[:], head[:min(len(head), len(h))]) {
				list = append(list, of(family, level))
			}
		}
	}
	return list
}

// Write takes the next bytes of the tar. An error is one of reading the blob.
func (p *Prober) Write(b []byte) (int, error) {
	if len(p.left) == 0 {
		return len(b), nil
	}
	if p.n == 0 && p.try == nil {
		if err := p.begin(); err != nil {
			return 0, err
		}
	}
	if p.head == nil {
		p.head = make([]byte, 0, probeHead)
	}
	p.head = append(p.head, b[:min(len(b), probeHead-len(p.head))]...)
	p.n += int64(len(b))
	if p.try == nil {
		return len(b), nil
	}
	return len(b), p.feed(b)
}

// begin tries the first generation that is left.
func (p *Prober) begin() (err error) {
	p.try, err = p.left[0].attempt(p.blob, p.size)
	return err
}

// feed gives bytes to what is tried, and the beginning to the next one if that is wrong.
func (p *Prober) feed(b []byte) error {
	for {
		if err := p.try.write(b); err != nil || !p.try.want.differs.Load() {
			return err
		}
		p.drop()
		if len(p.left) == 0 || p.n > int64(len(p.head)) {
			return nil
		}
		if err := p.begin(); err != nil {
			return err
		}
		b = p.head
	}
}

// drop gives up what is tried.
func (p *Prober) drop() {
	_ = p.try.z.Close() // It is wrong.
	p.try, p.left = nil, p.left[1:]
}

// Close gives up. It may be called more than once.
func (p *Prober) Close() {
	if p.try != nil {
		p.drop()
	}
	p.left = nil
}

// Generation returns the generation that makes the blob, or "" if none does. All of the
// tar was written, or nothing of it. It is read from the blob then, and where a generation
// turned out to be wrong after the beginning: only what was tried first saves this.
func (p *Prober) Generation(ctx context.Context) (Generation, error) {
	for len(p.left) > 0 {
		if p.try == nil {
			if err := p.again(ctx); err != nil {
				return "", err
			}
			continue
		}
		if same, err := p.try.end(p.size); same || err != nil {
			return p.left[0], err
		}
		p.drop()
	}
	return "", nil
}

// again shows the tar to the generations that are left, until the first of them is wrong
// after its beginning.
func (p *Prober) again(ctx context.Context) error {
	tar, _, err := compression.Decompress(ctxio.Reader(ctx, io.NewSectionReader(p.blob, 0, p.size)))
	if err != nil {
		return fmt.Errorf("read the blob: %w", err)
	}
	defer tar.Close() // only read
	p.n, p.head = 0, p.head[:0]
	if err := p.begin(); err != nil {
		return err
	}
	buf := make([]byte, pieceSize)
	for p.try != nil {
		n, err := tar.Read(buf)
		if _, err := p.Write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the blob: %w", err)
		}
	}
	return nil
}

// attempt is a compressor whose output is compared with a blob.
type attempt struct {
	z    io.WriteCloser
	want *expected
}

func (g Generation) attempt(blob io.ReaderAt, size int64) (*attempt, error) {
	want := &expected{r: bufio.NewReaderSize(io.NewSectionReader(blob, 0, size), pieceSize)}
	z, err := g.NewWriter(want)
	return &attempt{z, want}, err
}

// write compresses bytes, in pieces, until there is nothing more to find out.
func (a *attempt) write(b []byte) error {
	for len(b) > 0 && !a.want.over.Load() {
		n := min(len(b), pieceSize)
		if _, err := a.z.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return a.want.failed()
}

// end ends the tar, and reports whether all of the blob was made.
func (a *attempt) end(size int64) (bool, error) {
	if err := errors.Join(a.z.Close(), a.want.failed()); err != nil {
		return false, err
	}
	return !a.want.differs.Load() && a.want.n == size, nil
}

// expected is a writer that compares what comes with what was expected. What comes
// after the first difference, or after an error of r, it only takes.
type expected struct {
	r   io.Reader
	buf []byte
	n   int64
	err error // of r, valid when over is true
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

// failed is the error of reading what was expected.
func (e *expected) failed() error {
	if e.over.Load() && e.err != nil {
		return fmt.Errorf("read the blob: %w", e.err)
	}
	return nil
}
