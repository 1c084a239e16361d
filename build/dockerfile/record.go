package dockerfile

import (
	"cmp"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/content"
)

// Step tells how a step went that was done, or found done. Beside the instructions of
// the Dockerfile, what they take is a step, such as an image.
type Step struct {
	Name string `json:"name"`
	// Line is where the instruction begins in the Dockerfile, from 1; 0: it is not
	// there, or not known.
	Line int `json:"line,omitempty"`
	// Platforms are those whose images need the step, if the build is for several. A
	// step that is the same for all of them is done once.
	Platforms []string `json:"platforms,omitempty"`
	// Started is the time from the beginning of the build to that of the step, and
	// Seconds is how long the step took.
	Started float64 `json:"started"`
	Seconds float64 `json:"seconds"`
	// Cached: an earlier build had done it.
	Cached bool `json:"cached"`
	// Layer is the digest of the layer that the step has in the image, and Bytes the
	// size of its blob. Both are unset if it has none.
	Layer digest.Digest `json:"layer,omitempty"`
	Bytes int64         `json:"bytes,omitempty"`

	number int
	id     string // of its vertex
}

// StepsOf are the steps that were done until now for all outcomes of a build, in the
// order in which they began.
func StepsOf(all []*Outcome) []Step {
	if len(all) == 0 {
		return nil
	}
	s := all[0].s
	s.mu.Lock()
	steps := slices.SortedFunc(slices.Values(s.recorded), func(a, b Step) int { return cmp.Compare(a.number, b.number) })
	s.mu.Unlock()
	if len(s.Platforms) == 0 {
		return steps
	}
	needed := map[string][]string{}
	for _, out := range all {
		out.vertex.each(map[string]bool{}, func(v *vertex) {
			needed[v.id()] = append(needed[v.id()], content.FormatPlatform(out.Platform))
		})
	}
	for i := range steps {
		steps[i].Platforms = needed[steps[i].id]
	}
	return steps
}

// record remembers a step that ended.
func (p *progress) record(cached bool, elapsed time.Duration) {
	step := Step{
		Name: p.name, Started: max(0, p.began.Sub(p.s.began).Seconds()), Seconds: elapsed.Seconds(), Cached: cached, number: p.number,
	}
	if p.v != nil {
		step.Line, step.id = p.v.line(), p.v.id()
	}
	if p.layer != nil {
		step.Layer, step.Bytes = p.layer.Desc.Digest, p.layer.Desc.Size
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.s.recorded = append(p.s.recorded, step)
}

// made remembers the layer that the step has in the image. A layer that an earlier
// build stored for a step counts only if this build's image has it.
func (p *progress) made(m *graph.Made) {
	if p.v.layered && m != nil {
		p.layer = m.Layer
	}
}

// line is where the Dockerfile has the vertex; 0: nowhere.
func (v *vertex) line() int {
	for _, l := range v.source.GetLocations()[string(v.digest)].GetLocations() {
		for _, r := range l.GetRanges() {
			return int(r.GetStart().GetLine())
		}
	}
	return 0
}
