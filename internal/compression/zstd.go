package compression

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxWindow is the history that a stream may ask to keep in memory: what zstd
	// --long takes, and the most that its command reads without being told to.
	maxWindow = 128 << 20
	// bigWindow is from where on a window is given back at once when its stream is
	// closed. By itself the runtime keeps as much garbage as there is data in use,
	// so that of layers read one after the other two windows more would stay. It
	// takes some tens of milliseconds, and so small windows stay: the levels of zstd
	// that people use have up to 8 MiB.
	bigWindow = 32 << 20
)

// ErrWindow is in the chain of errors about streams with a window that is too large.
// Their text says what to do.
var ErrWindow = errors.New("compress it again with a smaller window, as zstd does without its options long and ultra")

// windowError says how large the window is, if that is known.
func windowError(window uint64) error {
	if window == 0 {
		return fmt.Errorf("a zstd window in it is above the limit of %d MiB: %w", maxWindow>>20, ErrWindow)
	}
	return fmt.Errorf("its zstd window of %d MiB is above the limit of %d MiB: %w", (window+1<<20-1)>>20, maxWindow>>20, ErrWindow)
}

// newZstd reads a stream of any number of frames. An error, of this or of
// reading, wraps [ErrWindow] where a window is larger than maxWindow.
func newZstd(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReader(r) // r itself where it is one of that size or a larger one
	window := firstWindow(br)
	if window > maxWindow {
		return nil, windowError(window)
	}
	zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return &zstdReader{zr: zr}, nil
}

// firstWindow is that of the first frame, or 0 where it cannot be told.
func firstWindow(br *bufio.Reader) uint64 {
	head, _ := br.Peek(zstd.HeaderMaxSize) // Who reads on finds the same error.
	var h zstd.Header
	switch {
	case h.Decode(head) != nil || h.Skippable:
		return 0
	case h.SingleSegment: // It is kept as a whole.
		return h.FrameContentSize
	}
	return h.WindowSize
}

type zstdReader struct {
	zr *zstd.Decoder
	n  int64
}

// Read implements [io.Reader].
func (r *zstdReader) Read(p []byte) (int, error) {
	n, err := r.zr.Read(p)
	r.n += int64(n)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = windowError(0) // a later frame's
	}
	return n, err
}

// Close implements [io.Closer].
func (r *zstdReader) Close() error {
	r.zr.Close()
	r.zr = nil
	if r.n >= bigWindow { // A window is no larger than what was read.
		debug.FreeOSMemory()
	}
	return nil
}
