package veneer

import (
	"slices"
	"time"
)

// steps times the steps of a build, and tells a Progress of them. Each begins
// where the one before it ended, so that their times add up to the whole.
type steps struct {
	progress Progress
	began    time.Time
	mark     time.Time // up to here, time is some step's
	name     string    // of the running step
	done     []StepDuration
}

func newSteps(p Progress) *steps {
	now := time.Now()
	return &steps{progress: p, began: now, mark: now}
}

// start ends the running step and begins another. What was before the first
// step is the first's.
func (s *steps) start(name string) {
	s.stop()
	s.name = name
	if s.progress != nil {
		s.progress.Step(name)
	}
}

// within begins a step that interrupts the running one, which goes on when the
// function is called that it returns.
func (s *steps) within(name string) (back func()) {
	outer := s.name
	s.start(name)
	return func() { s.start(outer) }
}

// stop ends the running step. One that went on after another counts once.
func (s *steps) stop() {
	if s.name == "" {
		return
	}
	now := time.Now()
	seconds := now.Sub(s.mark).Seconds()
	s.mark = now
	i := slices.IndexFunc(s.done, func(d StepDuration) bool { return d.Name == s.name })
	if i < 0 {
		i, s.done = len(s.done), append(s.done, StepDuration{Name: s.name})
	}
	s.done[i].Seconds += seconds
	s.name = ""
}

// count tells of work done in the running step, from any goroutine.
func (s *steps) count(files, bytes int64) {
	if s.progress != nil {
		s.progress.Count(files, bytes)
	}
}

// end ends the last step and returns the times in seconds, of each and in all.
func (s *steps) end() ([]StepDuration, float64) {
	s.stop()
	if s.progress != nil {
		s.progress.Done()
	}
	return s.done, s.mark.Sub(s.began).Seconds()
}
