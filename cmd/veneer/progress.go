package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/veneer-build/veneer"
)

// display is a veneer.Progress that is shown to the user. Close ends it in any
// state. It may be called after Done, and more than once.
type display interface {
	veneer.Progress
	Close()
}

// newDisplay returns the display that --progress asks for.
func (a *app) newDisplay() display {
	return &diskWaiter{display: a.chosenDisplay(), blocks: blocksRead}
}

func (a *app) chosenDisplay() display {
	kind := a.flags.progress.value
	if a.quiet {
		kind = "quiet"
	}
	if kind == "auto" {
		kind = "plain"
		if t, _ := a.getenv("TERM"); t != "dumb" && isTerminal(a.std.err) {
			kind = "tty"
		}
	}
	switch kind {
	case "tty":
		_, noColor := a.getenv("NO_COLOR")
		return newTTYDisplay(a.stderr, !noColor)
	case "json":
		return &lineDisplay{w: a.stderr, format: jsonLine}
	case rawProgress:
		return &rawDisplay{rawPrinter: newRawPrinter(a.stderr)}
	case "quiet":
		return quietDisplay{}
	}
	return &lineDisplay{w: a.stderr, format: plainLine}
}

// isTerminal reports whether w is a terminal that has a size. Some terminals that
// programs make have none, and nothing can be shown there.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return err == nil && width > 0 && height > 0
}

type quietDisplay struct{}

func (quietDisplay) Step(veneer.Step)   {}
func (quietDisplay) Count(int64, int64) {}
func (quietDisplay) Done()              {}
func (quietDisplay) Close()             {}

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
}

// plainLine is "compare: 1234 files, 5.6 MB, 0.3 s".
func plainLine(l progressLine) string {
	s := printable(l.Step) + ":"
	if !l.Done {
		s += " …"
	}
	return s + counted(l.Files, l.Bytes) + fmt.Sprintf(" %.1f s", l.Seconds)
}

// counted is " 12 files, 3.4 kB,". It leaves out what is 0.
func counted(files, bytes int64) string {
	var s string
	if files > 0 {
		s += " " + countText(files, "file", "files") + ","
	}
	if bytes > 0 {
		s += " " + bytesText(bytes) + ","
	}
	return s
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

	mu    sync.Mutex
	line  progressLine
	begun time.Time
	shown time.Time
}

// interim is how often a line is written while a step runs.
const interim = 5 * time.Second

func (d *lineDisplay) Step(s veneer.Step) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end()
	now := time.Now()
	d.line, d.begun, d.shown = progressLine{Step: s.String(), Kind: s.Kind, Platform: s.Platform}, now, now
}

func (d *lineDisplay) Count(files, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line.Files += files
	d.line.Bytes += bytes
	if d.line.Step != "" && time.Since(d.shown) >= interim {
		d.show()
	}
}

func (d *lineDisplay) Done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end()
}

// Close writes no last line for a step that still runs, since it did not complete.
func (d *lineDisplay) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line = progressLine{}
}

func (d *lineDisplay) end() {
	if d.line.Step == "" {
		return
	}
	d.line.Done = true
	d.show()
	d.line = progressLine{}
}

func (d *lineDisplay) show() {
	d.shown = time.Now()
	d.line.Seconds = time.Since(d.begun).Seconds()
	_, _ = fmt.Fprintln(d.w, d.format(d.line))
}
