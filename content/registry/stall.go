package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// defaultStall is how long a transfer may take for stallBytes. That is half
	// a kilobyte a second, slower than any link that is of use.
	defaultStall = time.Minute
	stallBytes   = 32 << 10
)

// stalled is the error of a transfer that has stalled. It is a net.Error that
// calls itself a timeout, so the transfer is tried again.
type stalled struct{}

var errStalled error = stalled{}

func (stalled) Error() string {
	return "the transfer has stalled: for too long the registry sent or took next to nothing"
}
func (stalled) Timeout() bool   { return true }
func (stalled) Temporary() bool { return true }

// watch ends a transfer that has stalled: one that has waited for the registry
// for longer than limit while it moved the last stallBytes. The time that this
// process takes itself does not count.
type watch struct {
	limit time.Duration
	end   func()

	mu     sync.Mutex
	timer  *time.Timer
	since  time.Time     // when the wait that runs has begun; zero: none runs
	waited time.Duration // for the registry, within the last stallBytes
	bytes  int           // how many of these have been moved
}

// wait begins a wait for the registry.
func (w *watch) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = time.Now()
	if w.timer == nil {
		w.timer = time.AfterFunc(w.limit-w.waited, w.end)
		return
	}
	w.timer.Reset(w.limit - w.waited)
}

// stop ends the wait.
func (w *watch) stop() { w.moved(0) }

// moved ends the wait, in which n bytes were moved.
func (w *watch) moved(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	if !w.since.IsZero() {
		w.waited += time.Since(w.since)
		w.since = time.Time{}
	}
	if w.bytes += n; w.bytes >= stallBytes {
		w.bytes, w.waited = 0, 0
	}
}

// watchedUpload is a request's body. The transport sends between two reads of it,
// so that time is measured. The wait for the response after the last read is
// limited by the transport.
type watchedUpload struct {
	io.ReadCloser
	watch *watch
	read  int
}

func (u *watchedUpload) Read(p []byte) (int, error) {
	u.watch.moved(u.read)
	n, err := u.ReadCloser.Read(p)
	if u.read = n; err == nil {
		u.watch.wait()
	}
	return n, err
}

func (u *watchedUpload) Close() error {
	u.watch.stop()
	return u.ReadCloser.Close()
}

// watchedBody is a response's body. While it is read, the registry sends.
type watchedBody struct {
	io.ReadCloser
	watch  *watch
	cancel context.CancelCauseFunc
	ctx    context.Context //nolint:containedctx // its cause tells why a read failed
	try    *attempt
	blob   bool
	left   int64 // how many bytes may follow, where it is a document
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.wait()
	n, err := b.ReadCloser.Read(p)
	b.watch.moved(n)
	if b.left -= int64(n); !b.blob && b.left < 0 {
		return n, fmt.Errorf("the registry's answer is longer than %d bytes: %w", maxDocument, errdefs.ErrInvalidArgument)
	}
	if err != nil && err != io.EOF {
		if errors.Is(context.Cause(b.ctx), errStalled) {
			err = errStalled
		}
		b.try.failed(err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.watch.stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
