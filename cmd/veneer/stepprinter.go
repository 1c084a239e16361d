package main

import (
	"bytes"
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
	w      io.Writer
	quiet  bool
	asJSON bool

	mu    sync.Mutex
	steps map[int]*printedStep
	// failed is the step that ended with an error; nil: none did.
	failed *printedStep
}

// printedStep is a step that was begun.
type printedStep struct {
	name  string
	began time.Time
	// rest is the line that has not ended yet.
	rest []byte
	last []string
}

// stepDisplay shows what the steps of a Dockerfile do. explain adds, after an error,
// what the error itself does not say.
type stepDisplay interface {
	veneer.StepWatcher
	explain(err error)
}

func (a *app) newStepPrinter() stepDisplay {
	if a.flags.progress.value == rawProgress && !a.quiet {
		return newRawPrinter(a.stderr)
	}
	return &stepPrinter{
		w: a.stderr, quiet: a.quiet || a.flags.progress.value == "quiet", asJSON: a.jsonMessages(), steps: map[int]*printedStep{},
	}
}

// stepLine is what is printed with --progress json.
type stepLine struct {
	Step    int     `json:"step"`
	Name    string  `json:"name,omitempty"`
	Output  string  `json:"output,omitempty"`
	Done    bool    `json:"done,omitempty"`
	Cached  bool    `json:"cached,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Error   string  `json:"error,omitempty"`
}

func (p *stepPrinter) print(text string, l stepLine) {
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
	p.steps[number] = &printedStep{name: name, began: time.Now()}
	p.print(fmt.Sprintf("#%d %s", number, printable(name)), stepLine{Step: number, Name: name})
}

// Output implements [veneer.StepWatcher].
func (p *stepPrinter) Output(number int, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.steps[number]
	if s == nil {
		return
	}
	s.rest = append(s.rest, data...)
	for {
		line, rest, found := bytes.Cut(s.rest, []byte("\n"))
		if !found && len(s.rest) < keptLine {
			return
		}
		if !found {
			line, rest = s.rest, nil
		}
		p.line(number, s, line)
		s.rest = append(s.rest[:0], rest...)
	}
}

func (p *stepPrinter) line(number int, s *printedStep, line []byte) {
	text := printable(strings.TrimRight(string(line), "\r"))
	if s.last = append(s.last, text); len(s.last) > keptLines {
		s.last = s.last[1:]
	}
	at := time.Since(s.began).Seconds()
	p.print(fmt.Sprintf("#%d %.3f %s", number, at, text), stepLine{Step: number, Output: string(line), Seconds: at})
}

// Ended implements [veneer.StepWatcher].
func (p *stepPrinter) Ended(number int, e veneer.StepEnding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.steps[number]
	if s == nil {
		return
	}
	if len(s.rest) > 0 {
		p.line(number, s, s.rest)
	}
	delete(p.steps, number)
	l := stepLine{Step: number, Done: true, Cached: e.Cached, Seconds: e.Elapsed.Seconds()}
	word := fmt.Sprintf("DONE %.1fs", e.Elapsed.Seconds())
	switch {
	case e.Err != nil:
		word, l.Error = "ERROR "+printable(cutMiddle(e.Err.Error(), 400)), e.Err.Error()
		if p.failed == nil {
			p.failed = s
		}
	case e.Cached:
		word = "CACHED"
	}
	p.print(fmt.Sprintf("#%d %s", number, word), l)
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

// explain shows, after an error, the last lines of the step that failed and the
// place in the Dockerfile. The error itself is printed by whoever gets it. Of a
// signal there is nothing to explain.
func (p *stepPrinter) explain(err error) {
	if err == nil || p.asJSON || errors.As(err, new(signalError)) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var run *veneer.RunError
	if p.failed != nil && errors.As(err, &run) && len(p.failed.last) > 0 {
		_, _ = fmt.Fprintf(p.w, "------\n > %s:\n%s\n------\n", printable(p.failed.name), strings.Join(p.failed.last, "\n"))
	}
	for _, text := range veneer.DockerfileExcerpts(err) {
		for line := range strings.Lines(text) {
			_, _ = fmt.Fprintln(p.w, strings.TrimRight(" "+printable(strings.TrimRight(line, "\n")), " "))
		}
	}
}
