package progress_test

import (
	"testing"

	"github.com/veneer-build/veneer/internal/progress"
)

// counts is a Totals that keeps what it is told last.
type counts struct{ files, bytes, totalFiles, totalBytes int64 }

func (c *counts) Step(progress.Step)       {}
func (c *counts) Done()                    {}
func (c *counts) About(int64, int64)       {}
func (c *counts) Count(files, bytes int64) { c.files, c.bytes = c.files+files, c.bytes+bytes }
func (c *counts) Total(files, bytes int64) { c.totalFiles, c.totalBytes = files, bytes }
func (c *counts) is(want counts) bool      { return *c == want }
func step(to progress.Progress) *progress.Steps {
	s := progress.New(to)
	s.Start("unpack")
	return s
}

// TestHeld: a step is told what is left when it begins, and what is done since, and nothing of what was in vain.
func TestHeld(t *testing.T) {
	for name, early := range map[string]bool{"total before": true, "total after": false} {
		var got counts
		h := &progress.Held{}
		if early {
			h.Total(3, 300)
		}
		h.Count(1, 120)
		if h.Release(step(&got)); !early {
			if !got.is(counts{}) {
				t.Errorf("%s: %+v before there is a total", name, got)
			}
			h.Total(3, 300)
		}
		h.Count(1, 100)
		if !got.is(counts{1, 100, 2, 180}) {
			t.Errorf("%s: %+v", name, got)
		}
		if h.Withdraw(); !got.is(counts{}) {
			t.Errorf("%s: %+v after it was withdrawn", name, got)
		}
	}
}
