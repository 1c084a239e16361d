package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/veneer-build/veneer"
)

// keptLines is how many of the last lines of a step's output are told again where
// it fails, and keptLine how much of one.
const (
	keptLines = 20
	keptLine  = 2000
)

// stepPrinter prints what the steps of a Dockerfile do, line by line, each with
// the number of its step.
type stepPrinter struct {
	quiet  bool
	asJSON bool
	// cancelled: what fails from now on does so for that reason.
	cancelled func() bool
	failures

	mu    sync.Mutex
	steps map[int]*printedStep
}

// printedStep is a step that was begun.
type printedStep struct {
	stepOutput
	began time.Time
}

// stepDisplay shows what the steps of a Dockerfile do. explain adds, after an error,
// what the error itself does not say. close gives the terminal back, for what is not
// a step; it may be called more than once.
type stepDisplay interface {
	veneer.StepWatcher
	explain(err error)
	close()
}

// newStepPrinter is newDisplay for the steps of a Dockerfile.
func (a *app) newStepPrinter(ctx context.Context) (stepDisplay, error) {
	if a.badProgress != nil {
		return nil, a.badProgress
	}
	return a.chosenSteps(ctx), nil
}

func (a *app) chosenSteps(ctx context.Context) stepDisplay {
	switch a.progressKind() {
	case rawProgress:
		return newRawPrinter(a.stderr)
	case "tty":
		return a.newTTYSteps(ctx)
	}
	return &stepPrinter{
		quiet: a.progressKind() == "quiet", asJSON: a.jsonMessages(), steps: map[int]*printedStep{},
		cancelled: func() bool { return ctx.Err() != nil },
		failures:  failures{w: a.stderr, keep: keptLines, silent: a.jsonMessages()},
	}
}

// stepLine is what is printed with --progress json.
type stepLine struct {
	Step      int     `json:"step,omitempty"`
	Name      string  `json:"name,omitempty"`
	Output    string  `json:"output,omitempty"`
	Done      bool    `json:"done,omitempty"`
	Cached    bool    `json:"cached,omitempty"`
	Cancelled bool    `json:"cancelled,omitempty"`
	Seconds   float64 `json:"seconds,omitempty"`
	Error     string  `json:"error,omitempty"`
}

// stepsLine says how many of the steps are over. It is printed with --progress json.
type stepsLine struct {
	StepsDone int `json:"steps_done"`
	Steps     int `json:"steps"`
}

// print prints the text for people, or the line for programs.
func (p *stepPrinter) print(text string, l any) {
	if p.quiet {
		return
	}
	if p.asJSON {
		data, err := json.Marshal(l)
		if err != nil {
			return // strings and numbers always encode
		}
		text = string(escapeJSON(data))
	}
	_, _ = fmt.Fprintln(p.w, text)
}

// Started implements [veneer.StepWatcher].
func (p *stepPrinter) Started(number int, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps[number] = &printedStep{stepOutput: stepOutput{name: name, keep: p.keep}, began: time.Now()}
	p.print(fmt.Sprintf("#%d %s", number, printable(name)), stepLine{Step: number, Name: name})
}

// Output implements [veneer.StepWatcher].
func (p *stepPrinter) Output(number int, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.steps[number]; s != nil {
		s.add(data, p.line(number, s))
	}
}

// line prints a line of a step's output; nil: none is to be printed.
func (p *stepPrinter) line(number int, s *printedStep) func(text string, raw []byte) {
	if p.quiet {
		return nil
	}
	return func(text string, raw []byte) {
		at := time.Since(s.began).Seconds()
		p.print(fmt.Sprintf("#%d %.3f %s", number, at, text), stepLine{Step: number, Output: string(raw), Seconds: at})
	}
}

// Ended implements [veneer.StepWatcher].
func (p *stepPrinter) Ended(number int, e veneer.StepEnding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.steps[number]
	if s == nil {
		return
	}
	s.flush(p.line(number, s))
	delete(p.steps, number)
	l := stepLine{Step: number, Done: true, Cached: e.Cached, Seconds: e.Elapsed.Seconds()}
	word := fmt.Sprintf("DONE %.1fs", e.Elapsed.Seconds())
	if e.Err != nil {
		l.Error = e.Err.Error()
	}
	switch {
	case wasCancelled(e.Err, p.cancelled()):
		word, l.Cancelled = "CANCELED", true
	case e.Err != nil:
		word = "ERROR " + printable(cutMiddle(e.Err.Error(), 400))
		p.note(&s.stepOutput)
	case e.Cached:
		word = "CACHED"
	}
	p.print(fmt.Sprintf("#%d %s", number, word), l)
}

// Steps implements [veneer.StepsWatcher].
func (p *stepPrinter) Steps(over, all int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asJSON && all > 0 { // 0: that is unknown
		p.print("", stepsLine{StepsDone: over, Steps: all})
	}
}

// Warn implements [veneer.StepWatcher].
func (p *stepPrinter) Warn(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.quiet:
	case p.asJSON:
		if data, err := json.Marshal(map[string]string{"message": "warning: " + text}); err == nil {
			_, _ = fmt.Fprintln(p.w, string(escapeJSON(data)))
		}
	default:
		_, _ = fmt.Fprintln(p.w, "veneer: warning: "+printable(text))
	}
}

func (p *stepPrinter) close() {}

// failures explain, after an error, the step that failed.
type failures struct {
	w io.Writer
	// keep is how many of the last lines of a step's output are kept.
	keep int
	// silent: the lines so far have told all.
	silent bool

	mu sync.Mutex
	// failed is the first step that ended with an error; nil: none did.
	failed *stepOutput
}

func (f *failures) note(o *stepOutput) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == nil {
		f.failed = o
	}
}

// explain shows, after an error, the last lines of the step that failed and the
// place in the Dockerfile. The error itself is printed by whoever gets it. Of a
// signal there is nothing to explain.
func (f *failures) explain(err error) {
	if err == nil || f.silent || errors.As(err, new(signalError)) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var run *veneer.RunError
	if f.failed != nil && errors.As(err, &run) && len(f.failed.last) > 0 {
		_, _ = fmt.Fprintf(f.w, "------\n > %s:\n%s\n------\n", printable(f.failed.name), strings.Join(f.failed.last, "\n"))
	}
	for _, text := range veneer.DockerfileExcerpts(err) {
		for line := range strings.Lines(text) {
			_, _ = fmt.Fprintln(f.w, strings.TrimRight(" "+printable(strings.TrimRight(line, "\n")), " "))
		}
	}
}
