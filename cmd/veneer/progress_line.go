package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/veneer-build/veneer"
)

// progressLine is the state of a step.
type progressLine struct {
	// Step is the step's whole name. Kind and Platform are parts of it.
	Step     string  `json:"step"`
	Kind     string  `json:"kind"`
	Platform string  `json:"platform,omitempty"`
	Files    int64   `json:"files"`
	Bytes    int64   `json:"bytes"`
	Seconds  float64 `json:"seconds"`
	// Done: the step has ended. Lines before that have it unset.
	Done bool `json:"done"`
	// Failed, or Cancelled: the step has ended, and is not done.
	Failed    bool `json:"failed,omitempty"`
	Cancelled bool `json:"cancelled,omitempty"`
	// TotalFiles and TotalBytes are what there is to do, BytesPerSecond how fast it
	// goes, and SecondsLeft how long it will take. What is not known is left out.
	TotalFiles     int64   `json:"total_files,omitempty"`
	TotalBytes     int64   `json:"total_bytes,omitempty"`
	BytesPerSecond float64 `json:"bytes_per_second,omitempty"`
	SecondsLeft    float64 `json:"seconds_left,omitempty"`
	// About: the totals are a guess, and so is the time.
	About bool `json:"about,omitempty"`

	reading reading
}

// set takes what the meter shows.
func (l *progressLine) set(r reading) {
	l.reading = r
	l.Files, l.Bytes, l.Seconds = r.files, r.bytes, r.seconds
	l.TotalFiles, l.TotalBytes, l.About = r.totalFiles, r.totalBytes, r.about
	l.BytesPerSecond, l.SecondsLeft = 0, 0
	if !l.over() {
		l.BytesPerSecond, l.SecondsLeft = math.Round(r.rate), math.Round(r.left.Seconds())
	}
}

func (l *progressLine) over() bool { return l.Done || l.Failed || l.Cancelled }

// plainLine is "compare: 1234 files, 5.6 MB, 0.3 s".
func plainLine(l progressLine) string {
	s := printable(l.Step) + ": "
	switch {
	case l.Failed:
		s += "failed after "
	case l.Cancelled:
		s += "cancelled after "
	case !l.Done:
		s += "… "
	}
	return s + joinParts(l.reading.parts(l.over()))
}

func jsonLine(l progressLine) string {
	data, err := json.Marshal(l)
	if err != nil {
		return "" // strings and numbers always encode
	}
	return string(escapeJSON(data))
}

// lineDisplay writes a line when a step ends. While a long step runs, it also
// writes a line every few seconds.
type lineDisplay struct {
	w      io.Writer
	format func(progressLine) string
	// stopped: the work was cancelled.
	stopped func() bool
	// unread: nobody is to be told that a step failed.
	unread func() bool
	now    func() time.Time

	mu    sync.Mutex
	line  progressLine
	meter *meter
	shown time.Time
	// end ends the goroutine that writes lines in between; nil: it does not run.
	end chan struct{}
}

func (a *app) newLineDisplay(ctx context.Context, format func(progressLine) string) *lineDisplay {
	return &lineDisplay{w: a.stderr, format: format, stopped: func() bool { return ctx.Err() != nil }, unread: a.unread, now: time.Now}
}

const (
	// interim is how often a line is written while a step runs, and lineTick how often
	// its speed is measured.
	interim  = 5 * time.Second
	lineTick = time.Second
)

// Step implements [veneer.Progress].
func (d *lineDisplay) Step(s veneer.Step) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over()
	d.shown = d.now()
	d.line, d.meter = progressLine{Step: s.String(), Kind: s.Kind, Platform: s.Platform}, &meter{began: d.shown}
	if d.end == nil {
		d.end = make(chan struct{})
		go d.between(d.end)
	}
}

// between writes lines of steps that take long.
func (d *lineDisplay) between(end chan struct{}) {
	tick := time.NewTicker(lineTick)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
			d.tick()
		}
	}
}

func (d *lineDisplay) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.meter == nil {
		return
	}
	if d.stopped() { // Cleaning up may take a while.
		d.line.Cancelled = true
		d.last()
		return
	}
	now := d.now()
	d.line.set(d.meter.read(now))
	if now.Sub(d.shown) >= interim {
		d.show(now)
	}
}

// Count implements [veneer.Progress].
func (d *lineDisplay) Count(files, bytes int64) {
	if m := d.running(); m != nil {
		m.count(files, bytes)
	}
}

// Total implements [veneer.TotalProgress].
func (d *lineDisplay) Total(files, bytes int64) {
	if m := d.running(); m != nil {
		m.total(files, bytes, false)
	}
}

// About implements [veneer.TotalProgress].
func (d *lineDisplay) About(files, bytes int64) {
	if m := d.running(); m != nil {
		m.total(files, bytes, true)
	}
}

func (d *lineDisplay) running() *meter {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meter
}

// Done implements [veneer.Progress].
func (d *lineDisplay) Done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over()
}

// over writes the last line of a step. d.mu is locked.
func (d *lineDisplay) over() {
	if d.meter != nil {
		d.line.Done = true
		d.last()
	}
}

func (d *lineDisplay) last() {
	now := d.now()
	d.line.set(d.meter.read(now))
	d.show(now)
	d.meter = nil
}

// Close implements [display]. A step that still runs has failed.
func (d *lineDisplay) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.meter != nil && d.unread() {
		d.meter = nil
	}
	if d.meter != nil {
		d.line.Cancelled = d.stopped()
		d.line.Failed = !d.line.Cancelled
		d.last()
	}
	if d.end != nil {
		close(d.end)
		d.end = nil
	}
}

func (d *lineDisplay) show(now time.Time) {
	d.shown = now
	_, _ = fmt.Fprintln(d.w, d.format(d.line))
}
