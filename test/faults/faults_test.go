package faults_test

import (
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/test/trees"
)

// TestEveryCall breaks each scenario at each call that changes something, in each way.
func TestEveryCall(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, sc scenario) {
		e := w.learn(sc)
		for _, f := range faults() {
			e.all(t, f)
		}
	})
}

// all tries a fault at each call that is picked.
func (e *expected) all(t *testing.T, f fault) {
	t.Helper()
	tried, survived := 0, 0
	start := time.Now()
	for _, n := range picks(e.scenario, f, max(len(e.calls[0]), len(e.calls[1]))) {
		method, problems := e.try(f, n)
		if method == "" && len(problems) == 0 {
			continue // it made fewer calls this time
		}
		tried++
		if len(problems) == 0 {
			survived++
			continue
		}
		t.Errorf("%s at call %d (%s):\n\t%s", f.name, n, method, strings.Join(problems, "\n\t"))
	}
	t.Logf("faults: %s, %s, %s, %s: %d tried, %d survived, %.1f s", e.daemon.Kind, e.snapshotter, e.name, f.name, tried, survived, time.Since(start).Seconds())
}

// chosen: VENEER_FAULTS_ONLY=build,pull leaves out the other scenarios.
func chosen(scenario string) bool {
	only := os.Getenv("VENEER_FAULTS_ONLY")
	return only == "" || slices.Contains(strings.Split(only, ","), scenario)
}

// picks are the calls that a fault is tried at.
func picks(sc scenario, f fault, calls int) []int {
	step := 1
	switch {
	case (sc.steps || sc.brief) && !soak() && !sampled[f.name]:
		return nil
	case sc.steps && !soak():
		step = 70 // Each run takes a second or two.
	case soak(), sc.name == "build" && (f.name == "kill-after" || f.name == "lost-answer"):
	case f.restarts:
		step = 20
	case sc.name == "build":
		step = 12
	default:
		step = 40
	}
	step = min(step, calls)
	var all []int
	// Each fault of a sample begins at another call, so that together they meet most.
	for n := 1 + len(f.name)%step; n <= calls; n += step {
		all = append(all, n)
	}
	return all
}

// sampled are the faults that the short form tries where processes run, and of scenarios that are much like another.
var sampled = map[string]bool{"kill-before": true, "kill-after": true, "lost-answer": true, "term-after": true, "daemon-before": true}

// expected is what a scenario leaves when nothing goes wrong.
type expected struct {
	*world
	scenario
	calls  [2][]string
	states [2]state
	// files are what the names' snapshots show, by image digest.
	files map[digest.Digest]map[string]string
	turn  int // the variant that is next
}

// learn runs both variants undisturbed, twice: the second time they find each other's results.
func (w *world) learn(sc scenario) *expected {
	w.t.Helper()
	e := &expected{world: w, scenario: sc, files: map[digest.Digest]map[string]string{}}
	for round := range 2 {
		for v := range 2 {
			e.before(v)
			w.ok(sc.args(v)...)
			e.calls[v] = w.proxy.counted()
			w.ok(sc.pruning()...)
			e.states[v] = w.state()
			if left := e.states[v].leftovers(); len(left) > 0 {
				w.t.Fatalf("undisturbed, it leaves %q", left)
			}
			for _, name := range sc.names {
				d, files, err := w.whole(name)
				if err != nil {
					w.t.Fatalf("undisturbed, %s is not whole: %v", name, err)
				}
				e.files[d] = files
			}
		}
		_ = round
	}
	w.t.Logf("%s makes %d changing calls: %s", sc.name, len(e.calls[0]), strings.Join(e.calls[0], " "))
	return e
}

func (e *expected) before(v int) {
	if e.prepare != nil {
		e.prepare(v)
	}
}

// try breaks the scenario at one call, and returns the call's method and all that is wrong then.
func (e *expected) try(f fault, n int) (method string, problems []string) {
	v := e.turn
	e.turn = 1 - v
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	e.before(v)
	s := &strike{fault: f, n: n, world: e.world, proxy: e.proxy, started: make(chan struct{}), ended: make(chan struct{})}
	e.proxy.arm(s)
	o := e.run(s, e.args(v)...)
	e.proxy.arm(nil)
	if s.method != "" {
		e.judge(f, s.method, o, v, problem)
	}
	for _, again := range [][]string{e.args(v), e.pruning()} {
		if o := e.run(nil, again...); o.code != 0 || o.took > 20*time.Second {
			problem("%s then ends with %d after %s: %s", again[0], o.code, o.took, o.stderr)
		}
	}
	if diff := e.state().diff(e.states[v]); len(diff) > 0 {
		problem("after it ran again, and prune:\n\t  %s", strings.Join(diff, "\n\t  "))
		e.heal(v)
	}
	return s.method, problems
}

// judge says what is wrong at once after a fault.
func (e *expected) judge(f fault, method string, o outcome, v int, problem func(string, ...any)) {
	switch {
	case f.dies && o.code != -1, !f.dies && o.code != 0 && o.code != f.stops:
		problem("exit code %d: %s", o.code, o.stderr)
	case !f.dies && o.code != 0 && !message.MatchString(e.lastLine(o.stderr)):
		problem("unclear message: %q", o.stderr)
	}
	if o.code == 1 && f.breaks && !hint.MatchString(o.stderr) {
		problem("it does not say what to do: %q", o.stderr)
	}
	if o.code == 1 && testing.Verbose() {
		e.t.Logf("%s: %s", f.name, strings.TrimSpace(o.stderr))
	}
	// Where it was cleaning up that failed, it can but say what does it.
	late := f.name == "deadline" && cleaning[path.Base(method)] && strings.Contains(o.stderr, "veneer prune removes it")
	if !f.dies && !f.restarts && !late {
		now := e.state()
		more := now.within(e.states[1-v], e.states[v])
		if o.code == 0 || e.steps {
			more = now.leftovers() // The daemon collects what the old image leaves when it likes to.
		}
		if len(more) > 0 {
			problem("at once after %d, %q:\n\t  %s", o.code, o.stderr, strings.Join(more, "\n\t  "))
		}
	}
	e.collect()
	e.wantWhole(problem)
}

// wantWhole wants each name to be one of the images that the scenario makes of it, with all that belongs to it.
func (e *expected) wantWhole(problem func(string, ...any)) {
	e.t.Helper()
	for _, name := range e.names {
		d, files, err := e.whole(name)
		if err != nil {
			problem("%s is not whole: %v", name, err)
			continue
		}
		want, known := e.files[d]
		if !known {
			problem("%s is another image: %s", name, d)
		} else if !maps.Equal(want, files) {
			problem("%s shows other files: %q", name, trees.Diff(want, files))
		}
	}
}

// hint is what to do when a connection broke.
var hint = regexp.MustCompile(`the connection to containerd broke; try again|a connection broke, to containerd or to the registry; try again`)

// cleaning are the methods that end what a run holds.
var cleaning = map[string]bool{"Delete": true, "Remove": true, "Abort": true}

// lastLine is the error. Before it, only a Dockerfile's build shows where in the file that was.
func (e *expected) lastLine(stderr string) string {
	if !e.steps {
		return stderr
	}
	if i := strings.LastIndex(strings.TrimSuffix(stderr, "\n"), "\n"); i >= 0 {
		return stderr[i+1:]
	}
	return stderr
}

// message is one line that says what was done, and why that failed.
var message = regexp.MustCompile(`^veneer: [a-z-]+ [^\n]*: [^\n]+\n$|^veneer: stopped by signal: terminated\n$`)

// heal brings the state of a variant back for the tests that follow.
func (e *expected) heal(v int) {
	e.t.Helper()
	e.sweep()
	e.before(v)
	e.ok(e.args(v)...)
	e.ok(e.pruning()...)
	if diff := e.state().diff(e.states[v]); len(diff) > 0 {
		e.t.Errorf("it cannot be healed: %q", diff)
		e.states[v] = e.state() // so that each is reported once
	}
}
