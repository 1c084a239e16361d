package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A watcher keeps what a test prints until it is known whether it passes, as `go test` does.
type watcher struct {
	out      io.Writer
	now      func() time.Time
	last     time.Time // when something was printed
	packages map[string]*packageRun
	skipped  map[string]int // by reason
	long     []longTest
	failed   []failure
	broken   bool            // something ended otherwise than by a test that failed
	again    map[string]bool // package and test: they run for the second time
	passed   []string        // of again
}

// A longTest is a test of the top level that took at least as long as a person would wait for.
type longTest struct {
	name    string
	seconds float64
}

// The summary has the longest tests, so that what makes a run long is not a guess.
const (
	longSeconds = 10
	longest     = 12
)

// A failure is the tests of a package, of the top level, that failed.
type failure struct {
	pkg   string
	tests []string
}

// At most so many tests are run once more. Where more fail it is not by chance.
const fewFail = 3

// unsteady returns what is to be run once more: few tests that may have failed by chance, as those do that wait for
// something on a machine that stands still meanwhile. A panic, a race, a timeout or what cannot be built is no such thing.
func (w *watcher) unsteady() []failure {
	n := 0
	for _, f := range w.failed {
		n += len(f.tests)
	}
	if w.broken || n > fewFail {
		return nil
	}
	for _, f := range w.failed {
		for _, test := range f.tests {
			w.again[f.pkg+" "+test] = true
		}
	}
	return w.failed
}

type packageRun struct {
	done    int
	failed  []string
	running map[string]time.Time // tests of the top level, and since when
	kept    map[string]*strings.Builder
}

func newWatcher(out io.Writer, now func() time.Time) *watcher {
	return &watcher{out: out, now: now, last: now(), packages: map[string]*packageRun{}, skipped: map[string]int{}, again: map[string]bool{}}
}

func (w *watcher) print(s string) {
	if s == "" {
		return
	}
	w.last = w.now()
	fmt.Fprint(w.out, s)
}

func (w *watcher) handle(e event) {
	if e.Action == "build-output" {
		w.broken = true
		w.print(e.Output)
		return
	}
	p := w.packages[e.Package]
	if p == nil {
		p = &packageRun{running: map[string]time.Time{}, kept: map[string]*strings.Builder{}}
		w.packages[e.Package] = p
	}
	switch e.Action {
	case "run":
		if !strings.Contains(e.Test, "/") {
			p.running[e.Test] = w.now()
		}
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") { // that a test runs, pauses and goes on
			w.output(p, e)
		}
	case "pass", "skip", "fail":
		if e.Test == "" {
			w.packageEnded(p, e)
			return
		}
		w.ended(p, e)
	}
}

// packageEnded keeps which of its tests failed.
func (w *watcher) packageEnded(p *packageRun, e event) {
	if len(p.failed) > 0 {
		w.failed = append(w.failed, failure{e.Package, p.failed})
	}
	w.broken = w.broken || e.Action == "fail" && (len(p.failed) == 0 || len(p.running) > 0)
	delete(w.packages, e.Package)
}

// output prints the line that tells how a package ended, with all before it if it failed, and keeps the rest.
func (w *watcher) output(p *packageRun, e event) {
	if e.Test == "" {
		failed := strings.HasPrefix(e.Output, "FAIL")
		if failed {
			for _, name := range slices.Sorted(maps.Keys(p.kept)) {
				w.print(p.kept[name].String())
			}
			clear(p.kept)
		}
		if failed || strings.HasPrefix(e.Output, "ok  \t") || strings.HasPrefix(e.Output, "?   \t") {
			w.print(e.Output)
			return
		}
	}
	w.broken = w.broken || strings.Contains(e.Output, "WARNING: DATA RACE") || strings.HasPrefix(e.Output, "panic: ")
	if p.kept[e.Test] == nil {
		p.kept[e.Test] = &strings.Builder{}
	}
	p.kept[e.Test].WriteString(e.Output)
}

func (w *watcher) ended(p *packageRun, e event) {
	said := ""
	if b := p.kept[e.Test]; b != nil {
		said = b.String()
	}
	switch e.Action {
	case "fail":
		w.print(said)
	case "skip":
		w.skipped[reason(said)]++
	}
	delete(p.kept, e.Test)
	delete(p.running, e.Test)
	if !strings.Contains(e.Test, "/") {
		p.done++
		if e.Action == "fail" {
			p.failed = append(p.failed, e.Test)
		} else if w.again[e.Package+" "+e.Test] {
			w.passed = append(w.passed, e.Test)
		}
		if e.Elapsed >= longSeconds {
			w.long = append(w.long, longTest{e.Test, e.Elapsed})
		}
	}
}

var (
	marks  = regexp.MustCompile(`(?m)^ *--- .*\n?`)
	caller = regexp.MustCompile(`^\s*[\w.-]+\.go:\d+: `)
)

// reason returns the first line of what a skipped test said.
func reason(said string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(marks.ReplaceAllString(said, "")), "\n")
	line = strings.TrimPrefix(caller.ReplaceAllString(line, ""), "SKIP: ")
	return cmp.Or(strings.TrimSuffix(line, ": not available here"), "no reason given")
}

// tick says what is running, if nothing was printed for a while.
func (w *watcher) tick() {
	now := w.now()
	if now.Sub(w.last) < quiet {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.packages)) {
		p := w.packages[name]
		var tests []string
		for _, test := range slices.SortedFunc(maps.Keys(p.running), func(a, b string) int { return p.running[a].Compare(p.running[b]) }) {
			tests = append(tests, fmt.Sprintf("%s (%d s)", test, int(now.Sub(p.running[test]).Seconds())))
		}
		if more := len(tests) - 3; more > 0 {
			tests = append(tests[:3], fmt.Sprintf("%d more", more))
		}
		if len(tests) > 0 {
			w.print(fmt.Sprintf("    %s  %s: %d done, now %s\n", now.Format(time.TimeOnly), name, p.done, strings.Join(tests, ", ")))
		}
	}
}

// summary says which tests passed at the second try only, which took longest, and how many were skipped, by reason.
func (w *watcher) summary() {
	if len(w.passed) > 0 {
		w.print("UNSTEADY, passed when run once more: " + strings.Join(w.passed, " ") + "\n")
	}
	slices.SortStableFunc(w.long, func(a, b longTest) int { return cmp.Compare(b.seconds, a.seconds) })
	for i, test := range w.long[:min(len(w.long), longest)] {
		if i == 0 {
			w.print("longest tests:\n")
		}
		w.print(fmt.Sprintf("  %4.0f s  %s\n", test.seconds, test.name))
	}
	total := 0
	for _, n := range w.skipped {
		total += n
	}
	if total == 0 {
		return
	}
	w.print(fmt.Sprintf("skipped tests: %d\n", total))
	reasons := slices.SortedFunc(maps.Keys(w.skipped), func(a, b string) int {
		return cmp.Or(cmp.Compare(w.skipped[b], w.skipped[a]), cmp.Compare(a, b))
	})
	for _, r := range reasons {
		w.print(fmt.Sprintf("  %4d  %s\n", w.skipped[r], r))
	}
}
