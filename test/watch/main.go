// Command watch shows what `go test -json` tells: what `go test` prints, each minute what is running meanwhile, and at
// the end what was skipped and why, and which tests took longest. `make test` pipes its tests through it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// quiet is how long nothing is printed before a line says what is running.
const quiet = time.Minute

func main() {
	w := newWatcher(os.Stdout, time.Now)
	ticks := time.NewTicker(quiet / 12)
	defer ticks.Stop()
	events, failed := read(os.Stdin)
	for {
		select {
		case e, more := <-events:
			if !more {
				w.summary()
				if err := <-failed; err != nil {
					fmt.Fprintf(os.Stderr, "watch: read test events: %v\n", err)
					os.Exit(1)
				}
				return
			}
			w.handle(e)
		case <-ticks.C:
			w.tick()
		}
	}
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
