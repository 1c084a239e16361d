package faults_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fault is one way to break a call.
type fault struct {
	name string
	// late: after the daemon has done it, before the program learns of it; else before the daemon learns of it.
	late bool
	// do breaks it; the error is the program's answer. nil: the call goes on.
	do func(ctx context.Context, s *strike, c *call) error
	// dies: the program has no chance to clean up; prune does then.
	dies bool
	// stops: the exit code that the program may end with, besides success; 0: a signal's death.
	stops int
	// restarts: the daemon is not there for a moment, so that cleaning up may fail, and says so.
	restarts bool
	// breaks: the program learns that the daemon cannot be reached.
	breaks bool
}

// patience is how long a program may take to react to a signal. A call that is not to be stopped goes on after it.
const patience = 100 * time.Millisecond

func faults() []fault {
	kill := func(ctx context.Context, s *strike, _ *call) error {
		s.signal(syscall.SIGKILL)
		<-ctx.Done()
		return ctx.Err()
	}
	term := func(ctx context.Context, s *strike, _ *call) error {
		s.signal(syscall.SIGTERM)
		if gone(ctx, patience) {
			return ctx.Err()
		}
		return nil
	}
	cut := func(ctx context.Context, s *strike, _ *call) error {
		s.proxy.cut()
		<-ctx.Done()
		return ctx.Err()
	}
	answer := func(err error) func(context.Context, *strike, *call) error {
		return func(context.Context, *strike, *call) error { return err }
	}
	restart := func(_ context.Context, s *strike, _ *call) error {
		if err := s.world.daemon.Restart(context.WithoutCancel(s.world.ctx)); err != nil {
			s.world.t.Error(err)
		}
		return status.Error(codes.Unavailable, "error reading from server: EOF")
	}
	return []fault{
		{name: "kill-before", do: kill, dies: true},
		{name: "kill-after", late: true, do: kill, dies: true},
		{name: "lost-answer", late: true, do: answer(errLost), stops: 1, breaks: true},
		{name: "term-before", do: term, stops: 143},
		{name: "term-after", late: true, do: term, stops: 143},
		{name: "term-overtakes", do: overtake, stops: 143},
		{name: "cut-before", do: cut, stops: 1, breaks: true},
		{name: "cut-after", late: true, do: cut, stops: 1, breaks: true},
		{name: "unavailable", do: answer(status.Error(codes.Unavailable, "connection refused")), stops: 1, breaks: true},
		{name: "deadline", do: answer(status.Error(codes.DeadlineExceeded, "context deadline exceeded")), stops: 1},
		{name: "daemon-before", do: restart, stops: 1, breaks: true, restarts: true},
		{name: "daemon-after", late: true, do: restart, stops: 1, breaks: true, restarts: true},
	}
}

// overtake tells the program to stop, and lets the daemon do the call after what the program then does to clean up: as
// if the call had been held up on the way.
func overtake(ctx context.Context, s *strike, c *call) error {
	c.detach()
	s.signal(syscall.SIGTERM)
	if gone(ctx, patience) {
		<-s.ended
	}
	return nil
}

// strike is one fault at one call, and the hook that brings it.
type strike struct {
	fault fault
	n     int
	world *world
	proxy *proxy

	started chan struct{}
	process *os.Process   // valid after started
	ended   chan struct{} // closed when the program has
	method  string        // of the call that was broken; empty: it did not come to it
}

func (s *strike) before(ctx context.Context, c *call) error { return s.at(ctx, c, false) }
func (s *strike) after(ctx context.Context, c *call) error  { return s.at(ctx, c, true) }

func (s *strike) at(ctx context.Context, c *call, late bool) error {
	if c.n != s.n || late != s.fault.late {
		return nil
	}
	s.method = c.method
	return s.fault.do(ctx, s, c)
}

func (s *strike) signal(sig syscall.Signal) {
	<-s.started
	_ = s.process.Signal(sig) // It may have ended.
}

// must ends the test if any of the errors is one.
func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
