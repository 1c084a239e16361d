package progress

import "sync"

// Held is a [Totals] for work that begins before its step does. What it is told it keeps
// for itself until [Held.Release]. The zero value is ready.
type Held struct {
	mu                     sync.Mutex
	to                     *Steps // nil: its step has not begun
	files, bytes           int64
	totalFiles, totalBytes int64
	toldFiles, toldBytes   int64
}

// Step implements [Progress]. The step is that of Release.
func (h *Held) Step(Step) {}

// Done implements [Progress].
func (h *Held) Done() {}

// Count implements [Progress].
func (h *Held) Count(files, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.to == nil {
		h.files, h.bytes = h.files+files, h.bytes+bytes
		return
	}
	h.toldFiles, h.toldBytes = h.toldFiles+files, h.toldBytes+bytes
	h.to.Count(files, bytes)
}

// Total implements [Totals].
func (h *Held) Total(files, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.totalFiles, h.totalBytes = files, bytes
	h.tellTotal()
}

// About implements [Totals].
func (h *Held) About(int64, int64) {}

// Release reports to the running step from now on: what is left to do, and what is done
// of that.
func (h *Held) Release(to *Steps) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.to = to
	h.tellTotal()
}

// tellTotal tells what is left. h.mu is locked.
func (h *Held) tellTotal() {
	if h.to != nil && h.totalBytes > 0 {
		h.to.Total(func() (int64, int64) { return h.totalFiles - h.files, h.totalBytes - h.bytes })
	}
}

// Withdraw takes back what was reported: the work was in vain.
func (h *Held) Withdraw() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.to != nil {
		h.to.Count(-h.toldFiles, -h.toldBytes)
		h.to.Total(func() (int64, int64) { return 0, 0 })
	}
	h.to = nil
}
