package cli_test

import (
	"math"
	"slices"
	"strings"
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

// Where an image of several platforms is built, each step says its kind and,
// apart from it, its platform.
func TestStepsOfSeveralPlatforms(t *testing.T) {
	b := newBench(t)
	b.write("app/file", "first")
	o := b.try("--progress", "json", "build", "--from", "scratch", "--platform", "linux/amd64,linux/arm64", "--sync", "app/:/app", "-t", "app", "--format", "json")
	if o.code != 0 {
		t.Fatal(o.stderr)
	}
	type step struct{ Step, Kind, Platform, Name string }
	var compared []step
	for line := range strings.Lines(o.stderr) {
		s := decode[step](t, line)
		if s.Kind == "compare" {
			compared = append(compared, step{Step: s.Step, Kind: s.Kind, Platform: s.Platform})
		}
	}
	want := []step{
		{Step: "compare linux/amd64", Kind: "compare", Platform: "linux/amd64"},
		{Step: "compare linux/arm64", Kind: "compare", Platform: "linux/arm64"},
	}
	if !slices.Equal(compared, want) {
		t.Errorf("steps that compare: %v, want %v", compared, want)
	}
	res := decode[struct{ Steps []step }](t, o.out)
	for _, s := range want {
		s.Step, s.Name = "", s.Step
		if !slices.Contains(res.Steps, s) {
			t.Errorf("the result's steps lack %v: %v", s, res.Steps)
		}
	}
}

// A build without a name, of which nothing differs from the base, is the base:
// nothing is collected, and nothing warns of that. Of what differs one line does.
func TestUnnamedBuild(t *testing.T) {
	b := newBench(t)
	b.write("app/file", "first")
	b.ok("build", "--from", "scratch", "--platform", "linux/amd64,linux/arm64", "--sync", "app/:/app", "-t", "several")
	b.ok("build", "--from", "scratch", "--sync", "app/:/app", "-t", "one")
	for _, args := range [][]string{
		{"build", "--from", "one", "--sync", "app/:/app"},
		{"build", "--from", "several", "--platform", "all", "--sync", "app/:/app"},
	} {
		for changed, want := range map[string]int{"first": 0, "second": 1} {
			b.write("app/file", changed)
			if o := b.try(args...); o.code != 0 || strings.Count(o.stderr, "garbage collection") != want {
				t.Errorf("%q, %s: exit code %d, want %d warnings: %s", args, changed, o.code, want, o.stderr)
			}
		}
	}
}
