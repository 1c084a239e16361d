package cleanup_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/veneer-build/veneer/internal/cleanup"
)

const limit = time.Minute

// await waits in a cleanup for a daemon that answers after a time, and returns how long that took.
func await(ctx context.Context, answer time.Duration) time.Duration {
	began := time.Now()
	ctx, cancel := cleanup.Context(ctx, limit)
	defer cancel()
	select {
	case <-time.After(answer):
	case <-ctx.Done():
	}
	return time.Since(began)
}

// TestBound: where the daemon hangs all cleanups wait for it no longer than the bound, also one that began before the end;
// one that answers has its time each time; and before the end nothing is bounded.
func TestBound(t *testing.T) {
	const bound = 10 * time.Second
	for name, answer := range map[string]time.Duration{"hangs": time.Hour, "answers": bound - 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ctx = cleanup.Bound(ctx, bound)
				if took := await(ctx, time.Hour); took != limit {
					t.Errorf("before the end it took %s", took)
				}
				early := make(chan time.Duration)
				go func() { early <- await(ctx, answer) }()
				synctest.Wait()
				cancel()
				took := <-early
				for range 5 {
					took += await(ctx, answer)
				}
				want := bound
				if answer < bound {
					want = 6 * answer
				}
				if took != want {
					t.Errorf("it took %s, want %s", took, want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if took := await(ctx, time.Hour); took != limit {
			t.Errorf("without a bound it took %s", took)
		}
	})
}
