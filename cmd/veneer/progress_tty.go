package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/veneer-build/veneer"
)

// ttyDisplay shows each step as a line that is updated while the step runs, and
// leaves a line for each that is over.
type ttyDisplay struct {
	live *live
	stop func() bool // listening to the end of the context

	mu      sync.Mutex
	current *task
}

func (a *app) newTTYDisplay(ctx context.Context) *ttyDisplay {
	d := &ttyDisplay{live: a.newLive(ctx)}
	d.stop = context.AfterFunc(ctx, d.live.cancel)
	return d
}

// Step implements [veneer.Progress].
func (d *ttyDisplay) Step(step veneer.Step) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.end(d.current, doneWell)
	d.current = d.live.begin(label{printable(step.String()), cutName})
}

// Count implements [veneer.Progress].
func (d *ttyDisplay) Count(files, bytes int64) {
	if t := d.running(); t != nil {
		t.count(files, bytes)
	}
}

// Total implements [veneer.TotalProgress].
func (d *ttyDisplay) Total(files, bytes int64) {
	if t := d.running(); t != nil {
		t.total(files, bytes, false)
	}
}

// About implements [veneer.TotalProgress].
func (d *ttyDisplay) About(files, bytes int64) {
	if t := d.running(); t != nil {
		t.total(files, bytes, true)
	}
}

func (d *ttyDisplay) running() *task {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current
}

// Done implements [veneer.Progress].
func (d *ttyDisplay) Done() { d.over(doneWell) }

func (d *ttyDisplay) over(how ending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live.end(d.current, how)
	d.current = nil
}

// Close implements [display]. A step that still runs has failed.
func (d *ttyDisplay) Close() {
	d.stop()
	d.over(doneBadly)
	d.live.close()
}

// task is a step on a terminal.
type task struct {
	meter
	name label
	tail []string // the last lines of its output
}

// ending is how a step ended.
type ending int

const (
	doneWell ending = iota
	doneBefore
	doneBadly
	doneNot
)

// live are the steps that run, on the lines of a screen.
type live struct {
	app    *app
	screen *screen
	color  bool
	now    func() time.Time
	// cancelled: what fails from now on does so for that reason.
	cancelled func() bool
	// sum is a last line about all of it; nil: there is none.
	sum func(width int) string

	mu     sync.Mutex
	tasks  []*task
	opened bool
	closed bool
	ended  sync.Once
}

func (a *app) newLive(ctx context.Context) *live {
	_, noColor := a.getenv("NO_COLOR")
	l := &live{app: a, color: !noColor, now: time.Now, cancelled: func() bool { return ctx.Err() != nil }}
	l.screen = &screen{size: a.terminalSize, lines: l.lines, every: frameTime, foreground: a.foreground}
	return l
}

// begin shows a step. The terminal is the screen's from the first one on. After the
// end there is no step (nil).
func (l *live) begin(name label) *task {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	if !l.opened {
		l.opened = true
		l.screen.terminal = l.app.stderr.use(l.screen)
		l.app.std.stops.use(l.screen)
		l.screen.start()
	}
	t := &task{name: name}
	t.began = l.now()
	l.tasks = append(l.tasks, t)
	return t
}

// end leaves a line that says how a step went.
func (l *live) end(t *task, how ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.tasks, t)
	if i < 0 {
		return
	}
	l.tasks = slices.Delete(l.tasks, i, i+1)
	switch {
	case how == doneBadly && l.app.unread():
		return
	case how == doneBadly && l.cancelled():
		how = doneNot
	}
	l.tell(t, how)
}

// tell writes the line. l.mu is locked.
func (l *live) tell(t *task, how ending) {
	width, _ := l.screen.size()
	parts := t.read(l.now()).parts(true)
	mark, paint := "✓", green
	switch how {
	case doneBefore:
		parts = []part{{"cached", 0}}
	case doneBadly:
		mark, paint, parts = "✗", red, append([]part{{"failed", 0}}, parts...)
	case doneNot:
		mark, paint, parts = "✗", yellow, append([]part{{"cancelled", 0}}, parts...)
	}
	line := strings.TrimPrefix(fitLine(mark, t.name, parts, width-1), mark)
	_, _ = l.screen.Write([]byte(l.paint(paint, mark) + line + "\n"))
}

func (l *live) paint(c color, text string) string {
	if !l.color {
		return text
	}
	return string(c) + text + "\x1b[0m"
}

// maxTail is how many lines of a running step's output are shown.
const maxTail = 4

// lines are the live lines. Steps come before what they write.
func (l *live) lines(width, most int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum []string
	if l.sum != nil && most > 1 {
		sum = []string{l.sum(width)}
	}
	most -= len(sum)
	tasks := l.tasks[:min(len(l.tasks), most)]
	tail := 0
	if len(tasks) > 0 {
		tail = min(maxTail, (most-len(tasks))/len(tasks))
	}
	now := l.now()
	var list []string
	for _, t := range tasks {
		list = append(list, fitLine("…", t.name, t.read(now).parts(false), width))
		for _, text := range t.tail[max(0, len(t.tail)-tail):] {
			list = append(list, l.paint(faint, "  "+cutEnd(text, width-2)))
		}
	}
	return append(list, sum...)
}

// cancel tells that what runs was cancelled, at once: cleaning up may take a while,
// and a second signal leaves no time to.
func (l *live) cancel() {
	l.mu.Lock()
	for _, t := range l.tasks {
		l.tell(t, doneNot)
	}
	l.tasks = nil
	l.mu.Unlock()
	l.close()
}

// close gives the terminal back. When it returns, that is done.
func (l *live) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.ended.Do(func() {
		if l.opened {
			l.screen.close()
			l.app.std.stops.use(nil)
			l.app.stderr.use(l.screen.terminal)
		}
	})
}
