// Command watch runs `go test` and shows what it prints, each minute what is running meanwhile, and at the end what was
// skipped and why, and which tests took longest. Where few tests fail they are run once more (see watcher.unsteady). The
// summary names those that pass then: the test, or what it tests, is to be mended. `make test` runs all tests by it.
//
//	watch [-race] FLAG... -- PACKAGE...
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// quiet is how long nothing is printed before a line says what is running.
const quiet = time.Minute

func main() {
	end := slices.Index(os.Args, "--")
	if end < 0 {
		fmt.Fprintln(os.Stderr, "usage: watch [-race] FLAG... -- PACKAGE...")
		os.Exit(2)
	}
	w := newWatcher(os.Stdout, time.Now)
	passed, err := all(w, os.Args[1:end], os.Args[end+1:])
	w.summary()
	if err != nil {
		fmt.Fprintf(os.Stderr, "watch: run go test: %v\n", err)
	}
	if err != nil || !passed {
		os.Exit(1)
	}
}

// all tells whether the tests of the packages pass, some of them the second time.
func all(w *watcher, flags, packages []string) (bool, error) {
	passed, err := test(w, flags, packages)
	if err != nil || passed {
		return passed, err
	}
	again := w.unsteady()
	if len(again) == 0 {
		return false, nil
	}
	passed = true
	for _, f := range again {
		w.print(fmt.Sprintf("\nonce more: %s %s\n", f.pkg, strings.Join(f.tests, " ")))
		ok, err := test(w, append(slices.Clone(flags), "-run=^("+strings.Join(f.tests, "|")+")$"), []string{f.pkg})
		if err != nil {
			return false, err
		}
		passed = passed && ok
	}
	return passed, nil
}

// test runs the tests once. An error is that they could not be run at all.
func test(w *watcher, flags, packages []string) (bool, error) {
	cmd := exec.CommandContext(context.Background(), "go", slices.Concat([]string{"test", "-json"}, flags, packages)...) //nolint:gosec // what the Makefile says
	cmd.Stderr = os.Stderr
	if slices.Contains(flags, "-race") {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // The race detector needs it.
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	events, failed := read(out)
	ticks := time.NewTicker(quiet / 12)
	defer ticks.Stop()
	for more := true; more; {
		var e event
		select {
		case e, more = <-events:
			if more {
				w.handle(e)
			}
		case <-ticks.C:
			w.tick()
		}
	}
	if err := <-failed; err != nil {
		return false, fmt.Errorf("read its events: %w", err)
	}
	return cmd.Wait() == nil, nil
}

// An event is a line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64 // seconds, of what has ended
}

// read sends the events of r. A line that is none becomes the output of a build.
func read(r io.Reader) (<-chan event, <-chan error) {
	events, failed := make(chan event), make(chan error, 1)
	go func() {
		defer close(events)
		lines := bufio.NewReader(r)
		for {
			line, err := lines.ReadBytes('\n')
			if len(line) > 0 {
				var e event
				if json.Unmarshal(line, &e) != nil {
					e = event{Action: "build-output", Output: string(line)}
				}
				events <- e
			}
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				failed <- err
				return
			}
		}
	}()
	return events, failed
}
