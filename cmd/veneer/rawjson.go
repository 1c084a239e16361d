package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// rawProgress is the word of --progress for BuildKit's form.
const rawProgress = "rawjson"

// checkProgress returns an error for the progress of Dockerfiles elsewhere.
func (a *app) checkProgress(cmd *cobra.Command) error {
	if a.flags.progress.value == rawProgress && !tellsRaw(cmd) {
		return usagef("--progress rawjson tells of a Dockerfile's steps, as docker buildx build does, and here is none: use --progress json")
	}
	return nil
}

// tellsRaw reports whether a command has what --progress rawjson tells of.
func tellsRaw(cmd *cobra.Command) bool {
	return cmd.Name() == "build" && !cmd.Flags().Changed("from")
}

// rawPrinter prints what the steps of a Dockerfile do as BuildKit's clients do with
// --progress rawjson: one of its statuses a line.
type rawPrinter struct {
	mu       sync.Mutex
	w        io.Writer
	vertexes map[int]*client.Vertex
}

func newRawPrinter(w io.Writer) *rawPrinter {
	return &rawPrinter{w: w, vertexes: map[int]*client.Vertex{}}
}

func (p *rawPrinter) print(s *client.SolveStatus) {
	if data, err := json.Marshal(s); err == nil { // It always encodes.
		_, _ = fmt.Fprintln(p.w, string(escapeJSON(data)))
	}
}

// Started implements [veneer.StepWatcher].
func (p *rawPrinter) Started(number int, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	v := &client.Vertex{Digest: digest.FromString(fmt.Sprintf("%d %s", number, name)), Name: name, Started: &now}
	p.vertexes[number] = v
	p.print(&client.SolveStatus{Vertexes: []*client.Vertex{v}})
}

// Output implements [veneer.StepWatcher].
func (p *rawPrinter) Output(number int, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.vertexes[number]; v != nil {
		p.print(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: v.Digest, Stream: 1, Data: data, Timestamp: time.Now()}}})
	}
}

// Ended implements [veneer.StepWatcher].
func (p *rawPrinter) Ended(number int, e veneer.StepEnding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.vertexes[number]
	if v == nil {
		return
	}
	now := time.Now()
	v.Completed, v.Cached = &now, e.Cached
	if e.Err != nil {
		v.Error = e.Err.Error()
	}
	p.print(&client.SolveStatus{Vertexes: []*client.Vertex{v}})
	delete(p.vertexes, number)
}

// Warn implements [veneer.StepWatcher]. The warning is of no step.
func (p *rawPrinter) Warn(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(&client.SolveStatus{Warnings: []*client.VertexWarning{{Level: 1, Short: []byte(text)}}})
}

// explain implements [stepDisplay]: the lines have told all.
func (p *rawPrinter) explain(error) {}

func (p *rawPrinter) close() {}

// rawDisplay shows the steps of a push in the same form.
type rawDisplay struct {
	*rawPrinter
	n int
}

// afterSteps is the number before that of the first step of a push: those of a
// Dockerfile are fewer.
const afterSteps = 1 << 30

func (d *rawDisplay) Step(s veneer.Step) {
	d.Done()
	d.n++
	d.Started(afterSteps+d.n, s.String())
}

func (d *rawDisplay) Count(int64, int64) {}
func (d *rawDisplay) Total(int64, int64) {}
func (d *rawDisplay) About(int64, int64) {}
func (d *rawDisplay) Done()              { d.Ended(afterSteps+d.n, veneer.StepEnding{}) }

// Close says nothing of a step that still runs, since it did not complete.
func (d *rawDisplay) Close() {}
