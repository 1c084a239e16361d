package progress

import (
	"io"
	"slices"
	"time"
)

// Steps times the steps of one work, and tells a [Progress] of them. Each
// begins where the one before it ended, so that their times add up to the
// whole. Count may be called from any goroutine, the rest from one.
type Steps struct {
	progress Progress
	began    time.Time
	mark     time.Time // up to here, time is some step's
	step     Step      // the running one; the zero value: none runs
	done     []Duration
}

// New begins a work. p may be nil: then nobody is told.
func New(p Progress) *Steps {
	now := time.Now()
	return &Steps{progress: p, began: now, mark: now}
}

// Start is [Steps.Begin] for a step that its kind alone describes.
func (s *Steps) Start(kind string) { s.Begin(Step{Kind: kind}) }

// Begin ends the running step and begins another. What was before the first
// step is the first's. One that runs already goes on.
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

// Within begins a step that interrupts the running one, which goes on when the
// returned function is called.
func (s *Steps) Within(step Step) (back func()) {
	outer := s.step
	s.Begin(step)
	return func() { s.Begin(outer) }
}

// Stop ends the running step, if one runs. One that went on after another
// counts once.
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

// Skip leaves the time until now to others, whose steps are timed elsewhere.
func (s *Steps) Skip() {
	s.Stop()
	s.mark = time.Now()
}

// Count tells of work done in the running step.
func (s *Steps) Count(files, bytes int64) {
	if s.progress != nil {
		s.progress.Count(files, bytes)
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
