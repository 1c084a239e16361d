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
	// defaultStall is how long a transfer may take for stallBytes: half a
	// kilobyte a second, which is slower than any link that is of use.
	defaultStall = time.Minute
	stallBytes   = 32 << 10
)

// stalled is a net.Error, and as a timeout one that can pass.
type stalled struct{}

var errStalled error = stalled{}

func (stalled) Error() string   { return "the registry does not get on with the transfer" }
func (stalled) Timeout() bool   { return true }
func (stalled) Temporary() bool { return true }

// watch ends a transfer that waits for the other side for longer than limit
// within stallBytes. The time that our own side takes does not count.
type watch struct {
	limit time.Duration
	end   func()

	mu     sync.Mutex
	timer  *time.Timer
	since  time.Time
	waited time.Duration
	bytes  int
}

// wait: from now on it is the other side's turn.
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

// stop ends the other side's turn.
func (w *watch) stop() { w.moved(0) }

// moved ends the other side's turn, in which n bytes went by.
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

// watchedUpload is a request's body: the network has its turn from one read to
// the next. The time after the last one is the transport's to limit.
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

// watchedBody is a response's body: the network has its turn while it is read.
type watchedBody struct {
	io.ReadCloser
	watch  *watch
	cancel context.CancelCauseFunc
	ctx    context.Context //nolint:containedctx // its cause tells why a read failed
	try    *attempt
	blob   bool
	left   int64 // of what a document may have
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
