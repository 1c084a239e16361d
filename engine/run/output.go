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

// stream is a writer that never fails, since a process must not be stopped in
// the middle of what it does by a reader that has gone.
type stream struct {
	to  io.Writer
	all *outputs
}

// streams wraps the process's writers. Where they are one, so are the results:
// os/exec then gives both one pipe, which keeps the order.
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

// sameWriter reports whether both are one; types that cannot be compared are not.
func sameWriter(a, b io.Writer) (same bool) {
	defer func() {
		if recover() != nil {
			same = false
		}
	}()
	return a == b
}
