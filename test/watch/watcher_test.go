package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWatch: of tests that pass only the package's line is shown, of those that fail all they said; a line tells what has
// been running for long, and the end what took longest and what was skipped.
func TestWatch(t *testing.T) {
	stream := `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: noise\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":12.4}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    require.go:21: SKIP: no git here: not available here\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
not an event
{"Action":"start","Package":"q"}
{"Action":"run","Package":"q","Test":"TestC"}
{"Action":"run","Package":"q","Test":"TestC/sub"}
{"Action":"output","Package":"q","Test":"TestC/sub","Output":"    c_test.go:9: wrong\n"}
{"Action":"output","Package":"q","Test":"TestC/sub","Output":"    --- FAIL: TestC/sub (0.00s)\n"}
{"Action":"fail","Package":"q","Test":"TestC/sub"}
{"Action":"output","Package":"q","Test":"TestC","Output":"--- FAIL: TestC (0.00s)\n"}
{"Action":"fail","Package":"q","Test":"TestC"}
{"Action":"run","Package":"q","Test":"TestD"}
{"Action":"output","Package":"q","Test":"TestD","Output":"=== RUN   TestD\n"}
{"Action":"output","Package":"q","Test":"TestD","Output":"panic: no more\n"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.1s\n"}
{"Action":"fail","Package":"q"}
`
	want := `ok  	p	0.1s
not an event
    12:01:01  q: 0 done, now TestC (61 s)
    c_test.go:9: wrong
    --- FAIL: TestC/sub (0.00s)
--- FAIL: TestC (0.00s)
panic: no more
FAIL	q	0.1s
longest tests:
    12 s  TestA
skipped tests: 1
     1  no git here
`
	var out strings.Builder
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	w := newWatcher(&out, func() time.Time { return now })
	events, failed := read(strings.NewReader(stream))
	for e := range events {
		w.handle(e)
		w.tick() // too early to say anything
		if e.Test == "TestC/sub" && e.Action == "run" {
			now = now.Add(quiet + time.Second)
			w.tick()
		}
	}
	w.summary()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("shown:\n%s\nwanted:\n%s", out.String(), want)
	}
}

// TestAgain: a test that fails by chance passes the second time, and is named. One that always fails is a failure, and so
// is one that panics, whatever it does afterwards.
func TestAgain(t *testing.T) {
	dir := t.TempDir()
	source := `package p
import ("os"; "testing")
func first(t *testing.T) bool {
	f, err := os.OpenFile(t.Name(), os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil { f.Close() }
	return err == nil
}
func TestChance(t *testing.T) { if first(t) { t.Error("by chance") } }
func TestAlways(t *testing.T) { t.Error("always") }
func TestPanic(t *testing.T) { if first(t) { panic("once") } }
func TestFine(t *testing.T) {}
`
	for name, text := range map[string]string{"go.mod": "module p\n\ngo 1.26\n", "p_test.go": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for run, want := range map[string]bool{"^Test(Chance|Fine)$": true, "^Test(Always|Fine)$": false, "^TestPanic$": false} {
		var out strings.Builder
		w := newWatcher(&out, time.Now)
		passed, err := all(w, []string{"-vet=off", "-run", run}, []string{"."})
		w.summary()
		if err != nil || passed != want {
			t.Errorf("%s: passed %v, %v\n%s", run, passed, err, out.String())
		}
		if says := strings.Contains(out.String(), "UNSTEADY, passed when run once more: TestChance\n"); says != want {
			t.Errorf("%s:\n%s", run, out.String())
		}
	}
}
