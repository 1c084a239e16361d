package tardiff

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxDictionary is the size of a file that is a dictionary. It is in memory twice,
	// beside the frame's window.
	maxDictionary = 4 << 20
	// maxDictWindow is the history that a frame with a dictionary may ask to keep.
	maxDictWindow = 8 << 20
)

// patch writes what the zstd frame of n bytes makes that follows. Its dictionary is the
// open file as a whole, with the number 0 (zstd --patch-from).
func (a *applier) patch(n int64) error {
	dict, err := a.dictionary()
	if err != nil {
		return err
	}
	frame := &io.LimitedReader{R: a.ops, N: n}
	opts := []zstd.DOption{zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxDictWindow)}
	if len(dict) > 0 {
		opts = append(opts, zstd.WithDecoderDictRaw(0, dict))
	}
	z, err := zstd.NewReader(frame, opts...)
	if err != nil {
		return a.in.fault(err)
	}
	defer z.Close()
	for {
		k, err := z.Read(a.data)
		if int64(k) > a.limit-a.written {
			return fmt.Errorf("it makes more than the %d bytes that are expected: %w", a.limit, ErrFormat)
		}
		if _, werr := a.w.Write(a.data[:k]); werr != nil {
			return werr
		}
		a.written += int64(k)
		switch {
		case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
			return fmt.Errorf("operation 5 (zstd with a dictionary) has a window above the limit of %d MiB: %w", maxDictWindow>>20, ErrLimit)
		case err != nil && !errors.Is(err, io.EOF):
			return a.in.fault(err)
		case err != nil:
			return a.pass(frame, int64(len(dict)))
		}
		if err := a.ctx.Err(); err != nil {
			return err
		}
	}
}

// dictionary is the open file as a whole.
func (a *applier) dictionary() ([]byte, error) {
	if a.file == nil {
		return nil, fmt.Errorf("it takes a dictionary where no file is open: %w", ErrFormat)
	}
	size := a.file.Size()
	if size > maxDictionary {
		return nil, fmt.Errorf("operation 5 (zstd with a dictionary) needs all %d bytes of the file %q, and %d may be: %w", size, a.path, maxDictionary, ErrLimit)
	}
	dict := make([]byte, size)
	if m, err := a.file.ReadAt(dict, 0); int64(m) < size {
		if errors.Is(err, io.EOF) {
			err = errShort
		}
		return nil, &SourceError{a.path, err}
	}
	return dict, nil
}

// pass reads what is left of a frame's bytes.
func (a *applier) pass(frame *io.LimitedReader, pos int64) error {
	if _, err := io.Copy(io.Discard, frame); err != nil {
		return a.in.fault(err)
	}
	if frame.N > 0 {
		return a.in.fault(io.ErrUnexpectedEOF)
	}
	a.pos = pos
	return nil
}
