package veneer

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWatchSettles: a build begins when nothing has changed for a while, and where something changes all the time it begins
// in the end.
func TestWatchSettles(t *testing.T) {
	for name, c := range map[string]struct {
		every, lasts, want time.Duration
	}{
		"at once":        {time.Hour, 0, DefaultSettle},
		"for a while":    {DefaultSettle / 2, 3 * DefaultSettle, 4 * DefaultSettle},
		"without an end": {DefaultSettle / 2, 2 * maxSettle, maxSettle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &watcher{news: make(chan struct{}, 1)}
				w.Settle = DefaultSettle
				began := time.Now()
				go func() {
					for time.Since(began) < c.lasts {
						time.Sleep(c.every)
						w.news <- struct{}{}
					}
				}()
				if ok := w.settle(t.Context()); !ok || time.Since(began) != c.want {
					t.Errorf("%t after %s, want %s", ok, time.Since(began), c.want)
				}
				for drained := false; !drained; { // so that the goroutine ends
					select {
					case <-w.news:
					case <-time.After(time.Minute):
						drained = true
					}
				}
			})
		})
	}
}
