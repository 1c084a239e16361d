package progress

import (
	"io"
	"slices"
	"time"
)

// Steps measures the steps of one operation, and reports them to a [Progress].
// Each step begins when the one before it ends, so that all times add up to the
// total. Count may be called from any goroutine, the other methods one at a time.
type Steps struct {
	progress Progress
	began    time.Time
	mark     time.Time // until here, all time belongs to a step
	step     Step      // the running step; zero: none runs
	done     []Duration
}

// New begins an operation. p may be nil: then times are measured and not reported.
func New(p Progress) *Steps {
	now := time.Now()
	return &Steps{progress: p, began: now, mark: now}
}

// Start is [Steps.Begin] for a step with a kind and nothing else.
func (s *Steps) Start(kind string) { s.Begin(Step{Kind: kind}) }

// Begin ends the running step and begins another. The time before the first step
// counts for the first. If the step runs already, it goes on.
func (s *Steps) Begin(step Step) {
	if step == s.step {
		return
	}
	s.Stop()
	s.step = step
	if s.progress != nil {
		s.progress.Step(step)
	}
}

// Within begins a step that interrupts the running one. The returned function
// resumes the interrupted step.
func (s *Steps) Within(step Step) (back func()) {
	outer := s.step
	s.Begin(step)
	return func() { s.Begin(outer) }
}

// Stop ends the running step, if there is one. A step that was interrupted is
// listed once, with all of its time.
func (s *Steps) Stop() {
	if s.step == (Step{}) {
		return
	}
	now := time.Now()
	seconds := now.Sub(s.mark).Seconds()
	s.mark = now
	name := s.step.String()
	i := slices.IndexFunc(s.done, func(d Duration) bool { return d.Name == name })
	if i < 0 {
		i, s.done = len(s.done), append(s.done, Duration{Name: name, Kind: s.step.Kind, Platform: s.step.Platform})
	}
	s.done[i].Seconds += seconds
	s.step = Step{}
}

// Skip leaves out the time until now. It belongs to steps that another Steps
// measures.
func (s *Steps) Skip() {
	s.Stop()
	s.mark = time.Now()
}

// Count reports work done in the running step.
func (s *Steps) Count(files, bytes int64) {
	if s.progress != nil {
		s.progress.Count(files, bytes)
	}
}

// Total reports how much the running step has to do, which count finds out. It is
// not called if nobody wants to know.
func (s *Steps) Total(count func() (files, bytes int64)) {
	if t, ok := s.progress.(Totals); ok {
		t.Total(count())
	}
}

// About reports about how much the running step has to do, where that is a guess.
func (s *Steps) About(files, bytes int64) {
	if t, ok := s.progress.(Totals); ok {
		t.About(files, bytes)
	}
}

// End ends the last step and returns the times in seconds, of each and in all.
func (s *Steps) End() ([]Duration, float64) {
	s.Stop()
	if s.progress != nil {
		s.progress.Done()
	}
	return s.done, s.mark.Sub(s.began).Seconds()
}

// Reader counts the bytes that are read through it.
func (s *Steps) Reader(r io.Reader) io.Reader { return counter{r: r, steps: s} }

// Writer counts the bytes that are written through it.
func (s *Steps) Writer(w io.Writer) io.Writer { return counter{w: w, steps: s} }

type counter struct {
	r     io.Reader
	w     io.Writer
	steps *Steps
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.steps.Count(0, int64(n))
	return n, err
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.steps.Count(0, int64(n))
	return n, err
}
