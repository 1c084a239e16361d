package veneer

import "time"

// steps times the steps of a build, one after the other, and tells a Progress
// of them.
type steps struct {
	progress Progress
	began    time.Time
	started  time.Time
	name     string
	done     []StepDuration
}

func newSteps(p Progress) *steps {
	return &steps{progress: p, began: time.Now()}
}

// start ends the running step and begins another.
func (s *steps) start(name string) {
	s.stop()
	s.name, s.started = name, time.Now()
	if s.progress != nil {
		s.progress.Step(name)
	}
}

func (s *steps) stop() {
	if s.name != "" {
		s.done = append(s.done, StepDuration{Name: s.name, Seconds: time.Since(s.started).Seconds()})
		s.name = ""
	}
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
	return s.done, time.Since(s.began).Seconds()
}
