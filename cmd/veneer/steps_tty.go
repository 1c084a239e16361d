package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/veneer-build/veneer"
)

// ttySteps shows the steps of a Dockerfile that run, each with the last lines of
// what it writes, and leaves a line for each step that is over.
type ttySteps struct {
	live *live
	stop func() bool // listening to the end of the context
	failures

	mu    sync.Mutex
	began time.Time
	steps map[int]*ttyStep
	// over of all steps are over; 0 of 0: that is unknown.
	over, all int
}

type ttyStep struct {
	*task
	output *stepOutput
}

func (a *app) newTTYSteps(ctx context.Context) *ttySteps {
	s := &ttySteps{live: a.newLive(ctx), steps: map[int]*ttyStep{}}
	s.failures = failures{w: a.stderr, keep: keptHidden}
	s.live.sum = s.sum
	s.began = s.live.now()
	s.stop = context.AfterFunc(ctx, s.live.cancel)
	return s
}

// keptHidden is how many of the last lines of a step's output are told where it fails:
// most of them were not seen.
const keptHidden = 100

// sum is the line about the whole build.
func (s *ttySteps) sum(width int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := []part{{fmt.Sprintf("%.1f s", s.live.now().Sub(s.began).Seconds()), 1}}
	if s.all > 0 {
		parts = append([]part{{fmt.Sprintf("%d of %s", s.over, countText(int64(s.all), "step", "steps")), 0}}, parts...)
	}
	return fitLine("…", label{"build", cutEnd}, parts, width)
}

// Started implements [veneer.StepWatcher].
func (s *ttySteps) Started(number int, name string) {
	t := s.live.begin(label{printable(name), cutEnd})
	if t == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps[number] = &ttyStep{task: t, output: &stepOutput{name: name, keep: s.keep}}
}

func (s *ttySteps) step(number int) *ttyStep {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.steps[number]
}

// Output implements [veneer.StepWatcher].
func (s *ttySteps) Output(number int, data []byte) {
	if t := s.step(number); t != nil {
		s.mu.Lock()
		t.output.add(data, nil)
		last := t.output.tail(maxTail)
		s.mu.Unlock()
		s.live.show(t.task, last)
	}
}

// Ended implements [veneer.StepWatcher].
func (s *ttySteps) Ended(number int, e veneer.StepEnding) {
	t := s.step(number)
	if t == nil {
		return
	}
	how := doneWell
	s.mu.Lock()
	delete(s.steps, number)
	t.output.flush(nil)
	switch {
	case wasCancelled(e.Err, s.live.cancelled()):
		how = doneNot
	case e.Err != nil:
		how = doneBadly
		s.note(t.output)
	case e.Cached:
		how = doneBefore
	}
	s.mu.Unlock()
	s.live.end(t.task, how)
}

// Steps implements [veneer.StepsWatcher].
func (s *ttySteps) Steps(over, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.all = over, all
}

// Warn implements [veneer.StepWatcher].
func (s *ttySteps) Warn(text string) { s.live.app.notify("warning: " + text) }

func (s *ttySteps) close() {
	s.stop()
	s.live.close()
}

func (s *ttySteps) explain(err error) {
	s.close()
	s.failures.explain(err)
}

// show sets the last lines of a step's output.
func (l *live) show(t *task, tail []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.tail = tail
}

// wasCancelled reports whether a step ended because it was to, as when another one
// failed or a signal came.
func wasCancelled(err error, stopped bool) bool {
	return err != nil && (stopped || errors.Is(err, context.Canceled) || errors.As(err, new(signalError)))
}

// stepOutput is what a step has written.
type stepOutput struct {
	name string
	// keep is how many of the last lines are kept.
	keep int
	last []string
	// rest is the line that has not ended yet.
	rest []byte
}

// add takes what was written and calls line, if it is not nil, with each line that is
// complete. Each byte is copied once, however many lines there are.
func (o *stepOutput) add(data []byte, line func(text string, raw []byte)) {
	for end := bytes.IndexByte(data, '\n'); end >= 0; end = bytes.IndexByte(data, '\n') {
		o.rest = append(o.rest, data[:end]...)
		o.take(o.rest, line)
		o.rest, data = o.rest[:0], data[end+1:]
	}
	o.rest = append(o.rest, data...)
	if len(o.rest) >= keptLine && line == nil {
		// Nobody sees any more what a bar of progress has written over.
		o.rest = append(o.rest[:0], written(o.rest)...)
	}
	if len(o.rest) >= keptLine {
		o.take(o.rest, line)
		o.rest = o.rest[:0]
	}
}

// flush takes the line that has not ended.
func (o *stepOutput) flush(line func(text string, raw []byte)) {
	if len(o.rest) > 0 {
		o.take(o.rest, line)
		o.rest = nil
	}
}

func (o *stepOutput) take(raw []byte, line func(text string, raw []byte)) {
	text := outputText(raw)
	if o.last = append(o.last, text); len(o.last) > o.keep {
		o.last = o.last[1:]
	}
	if line != nil {
		line(text, raw)
	}
}

// tail are the last n lines, and the one that has not ended.
func (o *stepOutput) tail(n int) []string {
	list := append([]string(nil), o.last[max(0, len(o.last)-n):]...)
	if len(o.rest) > 0 {
		list = append(list, outputText(o.rest))
	}
	return list[max(0, len(list)-n):]
}
