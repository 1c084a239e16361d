// Package cleanup lets work be ended in order after its context has ended.
package cleanup

import (
	"context"
	"sync"
	"time"
)

// Context returns a context for what has to be done even if ctx was cancelled:
// undoing something, or waiting for the answer to a call that may have done its
// work. It has ctx's values, the namespace and the lease among them, and ends
// by itself after limit, or with [Bound]. The caller calls the function when it is done.
func Context(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	b, ok := ctx.Value(boundKey{}).(*bound)
	if !ok {
		return own, cancel
	}
	stop := context.AfterFunc(b.patient, cancel)
	return own, func() {
		if own.Err() == nil {
			b.ended()
		}
		stop()
		cancel()
	}
}

// Bound returns a context whose cleanups ([Context]) have one limit for their waits
// together: once ctx has ended, and none of them has come to its end for that long, all
// end, and later ones at once. So a daemon that hangs is waited for once, and not at each
// step, and one that answers has its time.
func Bound(ctx context.Context, limit time.Duration) context.Context {
	b := &bound{limit: limit}
	b.patient, b.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, b.begin)
	return context.WithValue(ctx, boundKey{}, b)
}

type boundKey struct{}

// bound is the limit of [Bound].
type bound struct {
	limit   time.Duration
	patient context.Context //nolint:containedctx // it ends all cleanups
	giveUp  context.CancelFunc

	mu    sync.Mutex
	timer *time.Timer // nil: nobody asked for an end
}

func (b *bound) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = time.AfterFunc(b.limit, b.giveUp)
}

// ended is called when a cleanup came to its end by itself.
func (b *bound) ended() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Reset(b.limit)
	}
}
