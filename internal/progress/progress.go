package progress

// Compare is the kind of the step that compares file trees. A build does most of
// its reading in it.
const Compare = "compare"

// Step is one step of an operation.
type Step struct {
	// Kind is one word: "resolve", [Compare], "layer", "snapshot", "record",
	// "unpack", ….
	Kind string
	// Of says what the step works on, if its kind alone does not: an image's name,
	// or what the image is for.
	Of string
	// Platform is set if the same step is done for several platforms.
	Platform string
}

// String is the step's name for people, as in "compare linux/arm64".
func (s Step) String() string {
	name := s.Kind
	for _, more := range []string{s.Of, s.Platform} {
		if more != "" {
			name += " " + more
		}
	}
	return name
}

// Progress is told how an operation goes on. Step and Done, and Total and About of
// [Totals], are called one at a time, in the order of the steps. Count is called from several
// goroutines at once, also while another method runs.
type Progress interface {
	// Step starts a step and ends the one before.
	Step(s Step)
	// Count adds to the running step's counters.
	Count(files, bytes int64)
	// Done ends the last step.
	Done()
}

// Totals is a [Progress] that is told how much there is to do, too.
type Totals interface {
	Progress
	// Total says what the running step's counters will have come to at its end; 0 is
	// unknown. It is called as soon as that is certain, and again where it changes.
	Total(files, bytes int64)
	// About is Total for numbers that are a guess, such as those of the last time.
	About(files, bytes int64)
}

// Duration is the wall time of one step. Name is the whole [Step.String].
type Duration struct {
	Name     string  `json:"name"`
	Kind     string  `json:"kind"`
	Platform string  `json:"platform,omitempty"`
	Seconds  float64 `json:"seconds"`
}
