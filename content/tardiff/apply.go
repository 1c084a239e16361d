package tardiff

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

const (
	// applyWindow is the history that a delta may ask to keep in memory. Make writes
	// an eighth of it. tar-diff writes it at its highest level.
	applyWindow = 32 << 20
	// applyBuffer is the number of bytes that are read and written at once. There are
	// four buffers of about this size.
	applyBuffer = 64 << 10
	// freeIdle is the number of operations that may write nothing before any byte was
	// written. Each byte that was written allows one more, so that a few bytes cannot
	// become an endless number of files to open.
	freeIdle = 4096
	// tarBlock is the size of a file's header in a tar. A delta opens one old file, or
	// a few, for each file that it makes; it may open one for each block that was
	// written, beyond freeIdle.
	tarBlock = 512
)

// Limits bound what a delta may make.
type Limits struct {
	// Size is the largest number of bytes that are written. 0: no limit.
	Size int64
}

// SourceError is about a file of the tree that a delta needs.
type SourceError struct {
	// Path is the file.
	Path string
	// Err says why it is of no use.
	Err error
}

// Error implements error.
func (e *SourceError) Error() string {
	return fmt.Sprintf("file %q of the old tree: %v", e.Path, e.Err)
}

// Unwrap implements errors.Unwrap.
func (e *SourceError) Unwrap() error { return e.Err }

// errShort is about a file that has fewer bytes than the delta wants of it.
var errShort = errors.New("it is shorter than the file that the delta was made from")

// Apply makes a tar of a delta and the files of the old tree, and writes it to w. It
// returns how many bytes it wrote. The delta says nothing about what the tar or the
// files should be: whoever calls this compares the tar's digest.
//
// An error wraps [ErrFormat] or [ErrLimit], or is a [*SourceError], or it is that of reading the
// delta or of writing. What was written by then is of no use.
func Apply(ctx context.Context, delta io.Reader, old Opener, w io.Writer, limits Limits) (int64, error) {
	in := &stream{r: delta}
	var head [len(magic)]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, in.fault(err)
	}
	if string(head[:]) != magic && string(head[:]) != magic2 {
		return 0, fmt.Errorf("it begins with %q, and only versions 1 and 2 of tar-diff are known: %w", head, ErrFormat)
	}
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(applyWindow))
	if err != nil {
		return 0, err
	}
	defer z.Close()
	a := &applier{
		ctx: ctx, in: in, v2: string(head[:]) == magic2, ops: bufio.NewReaderSize(z, applyBuffer), tree: old, w: strict{w}, limit: limits.Size,
		data: make([]byte, applyBuffer), src: make([]byte, applyBuffer),
	}
	if a.limit == 0 {
		a.limit = math.MaxInt64
	}
	defer a.close()
	for {
		more, err := a.op()
		if err != nil || !more {
			return a.written, err
		}
	}
}

// applier has the state that operations change.
type applier struct {
	ctx     context.Context //nolint:containedctx // it ends with the call of Apply that made it
	in      *stream
	v2      bool
	ops     *bufio.Reader
	tree    Opener
	w       io.Writer
	limit   int64
	written int64
	idle    int64 // operations that wrote nothing
	opened  int64 // files of the old tree

	path string
	file File // nil: none is open
	pos  int64

	data, src []byte
}

func (a *applier) close() {
	if a.file != nil {
		_ = a.file.Close() // it was only read
		a.file = nil
	}
}

// op does the next operation. It returns false at the delta's end.
func (a *applier) op() (more bool, _ error) {
	if err := a.ctx.Err(); err != nil {
		return false, err
	}
	op, err := a.ops.ReadByte()
	if errors.Is(err, io.EOF) && a.in.n > int64(len(magic)) {
		return false, nil
	}
	if err != nil {
		return false, a.in.fault(err)
	}
	u, err := binary.ReadUvarint(a.ops)
	if err != nil {
		return false, a.in.fault(err)
	}
	if u > math.MaxInt64 {
		return false, fmt.Errorf("operation %d with the number %d: %w", op, u, ErrFormat)
	}
	n := int64(u)
	if err := a.count(op, n); err != nil {
		return false, err
	}
	switch op {
	case opOpen:
		return true, a.open(n)
	case opSeek:
		if a.file == nil {
			return false, fmt.Errorf("it seeks where no file is open: %w", ErrFormat)
		}
		a.pos = n
		return true, nil
	case opData, opCopy, opAdd:
		return true, a.write(op, n)
	case opZstdDict:
		if a.v2 {
			return true, a.patch(n)
		}
	}
	return false, fmt.Errorf("operation %d is unknown: %w", op, ErrFormat)
}

// count counts an operation that writes nothing, and is an error where there are too
// many for what was written.
func (a *applier) count(op byte, n int64) error {
	if op == opOpen || op == opZstdDict { // Of a dictionary the whole file is read.
		if a.opened++; a.opened > freeIdle+a.written/tarBlock {
			return fmt.Errorf("it opens %d files for %d bytes: %w", a.opened, a.written, ErrFormat)
		}
	}
	if op == opOpen || op == opSeek || op == opZstdDict || n == 0 {
		if a.idle++; a.idle > freeIdle+a.written {
			return fmt.Errorf("%d operations that write nothing: %w", a.idle, ErrFormat)
		}
	}
	return nil
}

// open opens the file whose name of n bytes follows.
func (a *applier) open(n int64) error {
	if n > maxName {
		return fmt.Errorf("a file name of %d bytes: %w", n, ErrFormat)
	}
	name := make([]byte, n)
	if _, err := io.ReadFull(a.ops, name); err != nil {
		return a.in.fault(err)
	}
	a.close()
	a.path, a.pos = string(name), 0
	if !ValidPath(a.path) {
		return fmt.Errorf("it takes %q for a file of the old tree: %w", a.path, ErrFormat)
	}
	f, err := a.tree.Open(a.path)
	if err != nil {
		return &SourceError{a.path, err}
	}
	a.file = f
	return nil
}

// write writes n bytes: of the delta, of the open file, or sums of both.
func (a *applier) write(op byte, n int64) error {
	if n > a.limit-a.written {
		return fmt.Errorf("it makes more than the %d bytes that are expected: %w", a.limit, ErrFormat)
	}
	if op != opData {
		if a.file == nil {
			return fmt.Errorf("it reads where no file is open: %w", ErrFormat)
		}
		if size := a.file.Size(); a.pos > size || n > size-a.pos {
			return &SourceError{a.path, fmt.Errorf("it has %d bytes, and %d are wanted at %d: %w", size, n, a.pos, errShort)}
		}
	}
	for n > 0 {
		k := int(min(n, applyBuffer))
		out, err := a.piece(op, k)
		if err != nil {
			return err
		}
		if _, err := a.w.Write(out); err != nil {
			return err
		}
		a.written += int64(k)
		n -= int64(k)
		if err := a.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// piece is the next k bytes of an operation. They are valid until the next call.
func (a *applier) piece(op byte, k int) ([]byte, error) {
	data, src := a.data[:k], a.src[:k]
	if op != opCopy {
		if _, err := io.ReadFull(a.ops, data); err != nil {
			return nil, a.in.fault(err)
		}
		if op == opData {
			return data, nil
		}
	}
	if m, err := a.file.ReadAt(src, a.pos); m < k {
		if errors.Is(err, io.EOF) {
			err = errShort
		}
		return nil, &SourceError{a.path, err}
	}
	a.pos += int64(k)
	if op == opAdd {
		for i, b := range data {
			src[i] += b
		}
	}
	return src, nil
}

// stream is the delta's bytes as they come. It remembers why they ended, to tell a
// reader that fails from a delta that is damaged.
type stream struct {
	r   io.Reader
	n   int64
	err error
}

// Read implements [io.Reader].
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil {
		s.err = err
	}
	return n, err
}

// fault says why the delta cannot be read.
func (s *stream) fault(err error) error {
	switch {
	case s.err != nil && !errors.Is(s.err, io.EOF):
		return fmt.Errorf("read the delta: %w", s.err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("it is cut off: %w: %w", ErrFormat, io.ErrUnexpectedEOF)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("its zstd window is above the limit of %d MiB: %w", applyWindow>>20, ErrLimit)
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}
