package run

import (
	"io"
	"sync"
)

// outputs are a process's two streams, written to by two goroutines.
type outputs struct {
	mu  sync.Mutex
	err error
}

// stream is a writer that never fails. A reader that has gone must not stop a
// process in the middle of its work.
type stream struct {
	to  io.Writer
	all *outputs
}

// streams wraps the writers of the process. If both are the same writer, both
// results are the same too: os/exec then gives the process one pipe, which keeps
// the order of the output.
func (o *outputs) streams(p *Process) (stdout, stderr *stream) {
	stdout = &stream{p.Stdout, o}
	if sameWriter(p.Stdout, p.Stderr) {
		return stdout, stdout
	}
	return stdout, &stream{p.Stderr, o}
}

// Write implements io.Writer.
func (s *stream) Write(data []byte) (int, error) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if s.all.err == nil {
		_, s.all.err = s.to.Write(data)
	}
	return len(data), nil
}

// failed is the first error of the writers.
func (o *outputs) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// sameWriter reports whether both writers are the same. It returns false for types
// that cannot be compared.
func sameWriter(a, b io.Writer) (same bool) {
	defer func() {
		if recover() != nil {
			same = false
		}
	}()
	return a == b
}
