package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/veneer-build/veneer/internal/jobcontrol"
)

// stops has Control-Z stop this process when the terminal is in order. nil: it stops
// at once, as any program does.
type stops struct {
	mu     sync.Mutex
	screen *screen // what has lines on the terminal; nil: nothing
}

// heedStops heeds Control-Z from now on, until the process ends: Go has no way back to
// the signal's default action. It is for a process whose messages a terminal shows.
func heedStops() *stops {
	// A shell without job control, or nohup, wants no stops.
	if !isTerminal(os.Stderr) || signal.Ignored(syscall.SIGTSTP) {
		return nil
	}
	s := &stops{}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTSTP, syscall.SIGCONT)
	go func() {
		for sig := range signals {
			s.heed(sig)
		}
	}()
	return s
}

// use says which screen has the terminal from now on; nil: none.
func (s *stops) use(x *screen) {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.screen = x
	}
}

func (s *stops) heed(sig os.Signal) {
	s.mu.Lock()
	x := s.screen
	s.mu.Unlock()
	switch {
	case x == nil && sig == syscall.SIGTSTP:
		jobcontrol.Stop()
	case x != nil && sig == syscall.SIGTSTP:
		x.suspend(jobcontrol.Stop)
	case x != nil:
		x.resume()
	}
}
