// Package ceiling measures how much memory a function has in use, for tests that feed it what a stranger may send.
package ceiling

import (
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// garbage is how much more than what is in use the heap may grow meanwhile, in percent: what was given up counts for little.
const garbage = 20

// Within fails the test if the heap is larger by more than limit bytes at any time while f runs. It looks twice in a
// millisecond, so what is taken for less time than that may be missed. Not for tests that run beside others.
func Within(t testing.TB, limit int64, f func()) {
	t.Helper()
	debug.FreeOSMemory()
	defer debug.SetGCPercent(debug.SetGCPercent(garbage))
	before := heap()
	peak := before
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			peak = max(peak, heap())
			select {
			case <-done:
				return
			case <-time.After(500 * time.Microsecond):
			}
		}
	}()
	f()
	peakAtEnd := heap()
	close(done)
	<-ended
	if got := max(peak, peakAtEnd) - before; got > limit {
		t.Errorf("it had %d KiB in use, more than %d", got>>10, limit>>10)
	}
}

// heap is what objects take, those that nobody uses any more included until they are collected.
func heap() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64()) //nolint:gosec // no heap is that large
}
