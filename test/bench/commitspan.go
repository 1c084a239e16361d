package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// commitSpan builds the second state on an image and tells when it committed: from the end of the comparison, when
// the first byte of the layer goes to the daemon, to the end of the program.
func (w *world) commitSpan(ctx context.Context, from string) (_ span, err error) {
	if err := w.trees.refresh(); err != nil {
		return span{}, err
	}
	settle()
	b := veneerBuild{root: "root-prepare", from: from, source: w.trees.v2, tag: tag2}
	args := slices.Concat(b.command(w), []string{"--progress", "json"})
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return span{}, err
	}
	if err := cmd.Start(); err != nil {
		return span{}, err
	}
	compared, text := endOfStep(stderr, "compare")
	err = cmd.Wait()
	ended := time.Now()
	if err != nil {
		return span{}, fmt.Errorf("build on %s: %w\n%s", from, err, lastLines(text, 20))
	}
	if compared.IsZero() {
		return span{}, fmt.Errorf("build on %s: it told of no end of its comparison:\n%s", from, lastLines(text, 20))
	}
	return span{compared, ended}, w.forget(ctx, b.tag)
}

// endOfStep reads progress as JSON to its end, and tells when a step was last said to have ended, and all the text.
func endOfStep(r io.Reader, name string) (ended time.Time, text string) {
	var all bytes.Buffer
	for lines := bufio.NewScanner(io.TeeReader(r, &all)); lines.Scan(); {
		var line struct {
			Step string
			Done bool
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Step == name && line.Done {
			ended = time.Now()
		}
	}
	return ended, all.String()
}
