package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/test/harness"
)

// TestProgressVariable: VENEER_PROGRESS stands for --progress, which wins, and a value
// that --progress does not take is an error of the command line.
func TestProgressVariable(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := []string{"build", "--no-unpack", "--from", "scratch", "--copy", dir + ":/d", "-t", "x"}
	for _, c := range []struct {
		value string
		args  []string
		code  int
		want  string // on standard error
		not   string
	}{
		{"json", plain, exitOK, `"done":true`, "compare:"},
		{"quiet", plain, exitOK, "", "compare"},
		{"", plain, exitOK, "compare: ", `"step"`},
		{"plain", append([]string{"--progress=json"}, plain...), exitOK, `"done":true`, "compare:"},
		{"json", append([]string{"--progress", "auto"}, plain...), exitOK, "compare: ", `"step"`},
		{"rawjson", plain, exitOK, `"done":true`, "compare:"},
		{"rawjson", []string{"images"}, exitOK, "", "progress"},
		{"fancy", []string{"version"}, exitOK, "", "fancy"},
		{"fancy", []string{"images"}, exitOK, "", "fancy"},
		{"fancy", []string{"build", dir, "-t", "y"}, exitUsage, `VENEER_PROGRESS="fancy": use auto`, "{"},
		{"fancy", plain, exitUsage, `VENEER_PROGRESS="fancy": use auto, plain, tty, json, rawjson or quiet`, "{"},
		{"fancy", []string{"images", "--progress", "plain"}, exitOK, "", "fancy"},
		{"json", []string{"inspect", "absent"}, exitError, `"exit_code":1`, "veneer:"},
		{"json", []string{"images", "--bogus"}, exitUsage, `"exit_code":2`, "veneer: "},
		{"json", []string{"--progress=plain", "inspect", "absent"}, exitError, "veneer: ", "exit_code"},
		{"quiet", []string{"build", dir, "-t", "y"}, -1, "", "Dockerfile"},
	} {
		t.Setenv("VENEER_PROGRESS", c.value)
		code, _, errOut := veneerRun(t.Context(), c.args...)
		if c.code >= 0 && code != c.code || !strings.Contains(errOut, c.want) || code == exitOK && strings.Contains(errOut, c.not) {
			t.Errorf("%s %q: exit code %d: %s", c.value, c.args, code, errOut)
		}
	}
}

// TestProgressAuto: auto is tty on a terminal that can do more than print.
func TestProgressAuto(t *testing.T) {
	x := harness.OpenTerminal(t, 80, 24)
	defer x.Close()
	for _, c := range []struct {
		term, value, want string
		err               io.Writer
	}{
		{"xterm", "auto", "tty", x.File},
		{"dumb", "auto", "plain", x.File},
		{"dumb", "tty", "tty", x.File},
		{"xterm", "auto", "plain", io.Discard},
		{"xterm", "plain", "plain", x.File},
		{"xterm", "quiet", "quiet", x.File},
	} {
		a := newApp(streams{err: c.err}, func(string) (string, bool) { return c.term, true })
		a.flags.progress.value = c.value
		if got := a.progressKind(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// lines is a lineDisplay at times that the test sets.
func lines(format func(progressLine) string) (d *lineDisplay, out *bytes.Buffer, after func(time.Duration, func())) {
	now := time.Unix(1e9, 0)
	out = &bytes.Buffer{}
	d = &lineDisplay{w: out, format: format, stopped: func() bool { return false }, unread: func() bool { return false }, now: func() time.Time { return now }, end: make(chan struct{})}
	return d, out, func(t time.Duration, do func()) {
		for range t / lineTick {
			do()
			now = now.Add(lineTick)
			d.tick()
		}
	}
}

// playLines is a build whose layer is cancelled.
func playLines(d *lineDisplay, after func(time.Duration, func())) {
	d.Step(veneer.Step{Kind: "compare", Platform: "linux/amd64"})
	after(2*time.Second, func() { d.Count(10, 1000) })
	d.Step(veneer.Step{Kind: "layer"})
	d.Total(100, 2e9)
	after(11*time.Second, func() { d.Count(1, 1e8) })
	d.stopped = func() bool { return true }
	d.Close()
	d.Close()
}

// TestPlainLines: a line for each step, and one each five seconds of a long one.
func TestPlainLines(t *testing.T) {
	d, out, after := lines(plainLine)
	playLines(d, after)
	const want = `compare linux/amd64: 20 files, 2.0 kB, 2.0 s
layer: … 5 of 100 files, 25%, 500.0 MB of 2.0 GB, 100.0 MB/s, 15 s left
layer: … 10 of 100 files, 50%, 1.0 GB of 2.0 GB, 100.0 MB/s, 10 s left
layer: cancelled after 11 files, 1.1 GB, 11.0 s
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	d, out, _ = lines(plainLine)
	d.Step(veneer.Step{Kind: "compare"})
	d.Close()
	if out.String() != "compare: failed after 0.0 s\n" {
		t.Errorf("a step that fails: %s", out.String())
	}
	d, out, _ = lines(plainLine)
	d.unread = func() bool { return true }
	d.Step(veneer.Step{Kind: "save"})
	d.Close()
	if out.String() != "" {
		t.Errorf("nobody reads standard output: %s", out.String())
	}
}

// TestJSONLines: the same for programs. What is not known is left out.
func TestJSONLines(t *testing.T) {
	d, out, after := lines(jsonLine)
	playLines(d, after)
	want := []string{
		`{"step":"compare linux/amd64","kind":"compare","platform":"linux/amd64","files":20,"bytes":2000,"seconds":2,"done":true}`,
		`{"step":"layer","kind":"layer","files":5,"bytes":500000000,"seconds":5,"done":false,"total_files":100,"total_bytes":2000000000,"bytes_per_second":100000000,"seconds_left":15}`,
		`{"step":"layer","kind":"layer","files":10,"bytes":1000000000,"seconds":10,"done":false,"total_files":100,"total_bytes":2000000000,"bytes_per_second":100000000,"seconds_left":10}`,
		`{"step":"layer","kind":"layer","files":11,"bytes":1100000000,"seconds":11,"done":false,"cancelled":true,"total_files":100,"total_bytes":2000000000}`,
	}
	if got := strings.TrimSuffix(out.String(), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got:\n%s", got)
	}
}

// TestTimeToGo: it is told when it means something, goes down as time does, and is
// not told of what has stalled.
func TestTimeToGo(t *testing.T) {
	began := time.Unix(1e9, 0)
	m := &meter{began: began}
	m.total(0, 1e9, false)
	at := func(ms int) reading { return m.read(began.Add(time.Duration(ms) * time.Millisecond)) }
	for ms := 0; ms < 900; ms += 100 {
		m.count(0, 1e6)
		if r := at(ms); r.rate != 0 || r.left != 0 {
			t.Fatalf("after %d ms: %+v", ms, r)
		}
	}
	for ms := 900; ms < 20000; ms += 100 {
		m.count(0, 1e6)
		r := at(ms)
		if r.left != 0 != (ms >= 3000) {
			t.Fatalf("after %d ms: %+v", ms, r)
		}
		if r.left > 0 && (r.rate < 0.9e7 || r.rate > 1.2e7) {
			t.Fatalf("after %d ms the rate is not some 10 MB/s: %+v", ms, r)
		}
	}
	before := at(20000).left
	m.count(0, 2e7) // a burst
	if now := at(20100).left; now < before/2 {
		t.Errorf("one burst made %v of %v", now, before)
	}
	if r := at(200_000); r.left != 0 && r.rate > 1e3 {
		t.Errorf("nothing came for three minutes: %+v", r)
	}
	for d, want := range map[time.Duration]string{
		900 * time.Millisecond: "1 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 05 s", 11 * time.Minute: "11 min", 100 * time.Minute: "1 h 40 min",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// TestFilesToGo: where the bytes are not known, the files tell how long it takes; a guess
// is called one, and forgotten where it was too small.
func TestFilesToGo(t *testing.T) {
	d, out, after := lines(plainLine)
	d.Step(veneer.Step{Kind: "compare"})
	d.About(1000, 0)
	after(5*time.Second, func() { d.Count(100, 1000) })
	d.Step(veneer.Step{Kind: "snapshot"})
	d.Total(1000, 0)
	after(5*time.Second, func() { d.Count(100, 0) })
	d.Step(veneer.Step{Kind: "compare"})
	d.About(100, 0)
	after(5*time.Second, func() { d.Count(100, 0) })
	d.Close()
	const want = `compare: … 500 of about 1000 files, 5.0 kB, 1.0 kB/s, about 5 s left
compare: 500 files, 5.0 kB, 5.0 s
snapshot: … 500 of 1000 files, 5 s left
snapshot: 500 files, 5.0 s
compare: … 500 files, 5.0 s
compare: failed after 500 files, 5.0 s
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	d, out, after = lines(jsonLine)
	d.Step(veneer.Step{Kind: "compare"})
	d.About(1000, 0)
	after(5*time.Second, func() { d.Count(100, 0) })
	if !strings.Contains(out.String(), `"total_files":1000,"seconds_left":5,"about":true}`) {
		t.Errorf("got:\n%s", out.String())
	}
}

// TestStepLines: the steps of a Dockerfile, for people without a terminal and for
// programs. A step that another one's failure cancelled has not failed.
func TestStepLines(t *testing.T) {
	play := func(asJSON bool) string {
		var out bytes.Buffer
		p := &stepPrinter{
			asJSON: asJSON, steps: map[int]*printedStep{}, cancelled: func() bool { return false },
			failures: failures{w: &out, keep: keptLines, silent: asJSON},
		}
		p.Steps(0, 0)
		p.Steps(0, 2)
		p.Started(1, "RUN one")
		p.Started(2, "RUN two")
		p.Ended(2, veneer.StepEnding{Err: context.Canceled})
		p.Output(1, []byte("said\n"))
		err := &veneer.RunError{Command: "one", Err: errors.New("exit code 1")}
		p.Ended(1, veneer.StepEnding{Err: err})
		p.explain(err)
		return out.String()
	}
	text := play(false)
	for _, want := range []string{"#2 CANCELED\n", "#1 ERROR run \"one\"", " > RUN one:\nsaid\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	first, rest, _ := strings.Cut(play(true), "\n")
	if first != `{"steps_done":0,"steps":2}` {
		t.Errorf("the first line: %s", first)
	}
	var all []stepLine
	for line := range strings.Lines(rest) {
		var l stepLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, l)
	}
	if len(all) != 5 || !all[2].Cancelled || all[4].Error == "" || all[4].Cancelled {
		t.Errorf("%+v", all)
	}
}
