package cli_test

import (
	"math"
	"slices"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// timing is what a build says of its time.
type timing struct {
	Seconds float64
	Steps   []struct {
		Name    string
		Seconds float64
	}
}

// check wants steps that add up to the whole, and returns their names in order.
func (w timing) check(t *testing.T) []string {
	t.Helper()
	var names []string
	sum := 0.0
	for _, s := range w.Steps {
		if s.Seconds < 0 || slices.Contains(names, s.Name) {
			t.Errorf("step %s, of %v s, in %v", s.Name, s.Seconds, w.Steps)
		}
		names = append(names, s.Name)
		sum += s.Seconds
	}
	if w.Seconds <= 0 || math.Abs(sum-w.Seconds) > 0.05*w.Seconds {
		t.Errorf("the steps take %v s of %v s: %v", sum, w.Seconds, w.Steps)
	}
	return names
}

// The steps add up to the build, and a base that is unpacked for it is a step of its own, longer than comparing:
// Debian's 6,000 files against one.
func TestStepsAddUp(t *testing.T) {
	harness.RequireRoot(t) // to unpack
	b := newBench(t)
	b.ok("load", "--no-unpack", "-t", "debian:12", harness.DebianImage(t))
	b.write("app/file", "first")
	args := []string{"build", "--from", "debian:12", "--sync", "app/:/app", "-t", "app", "--format", "json"}
	first := decode[timing](t, b.ok(args...))
	if got := first.check(t); !slices.Equal(got, []string{"resolve", "compare", "unpack base", "layer", "snapshot", "record"}) {
		t.Fatalf("steps of the first build: %v", got)
	}
	if compared, unpacked := first.Steps[1].Seconds, first.Steps[2].Seconds; unpacked < compared {
		t.Errorf("unpacking Debian took %v s, looking at one file %v s", unpacked, compared)
	}
	b.write("app/file", "second")
	second := decode[timing](t, b.ok(args...))
	if got := second.check(t); !slices.Equal(got, []string{"resolve", "compare", "layer", "snapshot", "record"}) {
		t.Errorf("steps of the second build: %v", got)
	}
}
