package main

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/veneer-build/veneer"
)

// ttyDisplay shows each step as a line that is updated while the step runs.
type ttyDisplay struct {
	out      *switchWriter
	terminal io.Writer
	color    bool
	bars     *mpb.Progress

	mu      sync.Mutex
	current *ttyStep
	closed  bool
}

type ttyStep struct {
	bar          *mpb.Bar
	name         string
	begun        time.Time
	files, bytes atomic.Int64
	// took is the step's duration once it has ended, in nanoseconds.
	took atomic.Int64
}

func newTTYDisplay(out *switchWriter, color bool) *ttyDisplay {
	d := &ttyDisplay{out: out, terminal: out.w, color: color}
	d.bars = mpb.New(mpb.WithOutput(d.terminal), mpb.WithRefreshRate(100*time.Millisecond), mpb.WithAutoRefresh())
	// Messages appear above the lines of steps.
	out.use(aboveBars{d.bars, d.terminal})
	return d
}

// aboveBars writes above the live lines while there are any.
type aboveBars struct{ bars, terminal io.Writer }

func (w aboveBars) Write(p []byte) (int, error) {
	n, err := w.bars.Write(p)
	if errors.Is(err, mpb.ErrDone) {
		return w.terminal.Write(p)
	}
	return n, err
}

func (d *ttyDisplay) Step(step veneer.Step) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.end()
	s := &ttyStep{name: step.String(), begun: time.Now()}
	s.bar = d.bars.New(0, mpb.NopStyle(), mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return d.text(s) })))
	d.current = s
}

// text is the step's line.
func (d *ttyDisplay) text(s *ttyStep) string {
	mark, took := "…", time.Duration(s.took.Load())
	if took > 0 {
		mark = "✓"
		if d.color {
			mark = "\x1b[32m✓\x1b[0m"
		}
	} else {
		took = time.Since(s.begun)
	}
	return fmt.Sprintf("%s %-10s%s %.1f s", mark, printable(s.name), counted(s.files.Load(), s.bytes.Load()), took.Seconds())
}

func (d *ttyDisplay) Count(files, bytes int64) {
	d.mu.Lock()
	s := d.current
	d.mu.Unlock()
	if s != nil {
		s.files.Add(files)
		s.bytes.Add(bytes)
	}
}

func (d *ttyDisplay) Done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end()
}

func (d *ttyDisplay) end() {
	if d.current == nil {
		return
	}
	d.current.took.Store(max(1, int64(time.Since(d.current.begun))))
	d.current.bar.SetTotal(-1, true)
	d.current = nil
}

// Close stops updating the lines and leaves them on the terminal.
func (d *ttyDisplay) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	if d.current != nil {
		d.current.bar.Abort(false)
		d.current = nil
	}
	d.bars.Wait()
	d.out.use(d.terminal)
}
