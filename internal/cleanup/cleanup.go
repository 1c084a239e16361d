// Package cleanup lets work be ended in order after its context has ended.
package cleanup

import (
	"context"
	"time"
)

// Context returns a context for what has to be done even if ctx was cancelled:
// undoing something, or waiting for the answer to a call that may have done its
// work. It has ctx's values, the namespace and the lease among them, and ends
// by itself after limit. The caller calls cancel when it is done.
func Context(ctx context.Context, limit time.Duration) (_ context.Context, cancel context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}
