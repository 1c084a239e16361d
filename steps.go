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
	step     Step      // the running one; the zero value: none runs
	done     []StepDuration
}

func newSteps(p Progress) *steps {
	now := time.Now()
	return &steps{progress: p, began: now, mark: now}
}

// start is begin for a step that its kind alone describes.
func (s *steps) start(kind string) { s.begin(Step{Kind: kind}) }

// begin ends the running step and begins another. What was before the first
// step is the first's.
func (s *steps) begin(step Step) {
	s.stop()
	s.step = step
	if s.progress != nil {
		s.progress.Step(step)
	}
}

// within begins a step that interrupts the running one, which goes on when the
// function is called that it returns.
func (s *steps) within(step Step) (back func()) {
	outer := s.step
	s.begin(step)
	return func() { s.begin(outer) }
}

// stop ends the running step. One that went on after another counts once.
func (s *steps) stop() {
	if s.step == (Step{}) {
		return
	}
	now := time.Now()
	seconds := now.Sub(s.mark).Seconds()
	s.mark = now
	name := s.step.String()
	i := slices.IndexFunc(s.done, func(d StepDuration) bool { return d.Name == name })
	if i < 0 {
		i, s.done = len(s.done), append(s.done, StepDuration{Name: name, Kind: s.step.Kind, Platform: s.step.Platform})
	}
	s.done[i].Seconds += seconds
	s.step = Step{}
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
