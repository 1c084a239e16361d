package cli_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/test/harness"
)

// builtFile is what a metadata file says of a Dockerfile's steps.
type builtFile struct {
	Digest string `json:"containerimage.digest"`
	Steps  []builtStep
}

type builtStep struct {
	Name             string
	Platforms        []string
	Line             int
	Started, Seconds float64
	Cached           bool
	Layer            digest.Digest
	Bytes            int64
}

// built builds, and returns what the metadata file says of the build and of the step that has the text.
func (b *bench) built(args ...string) (f builtFile, find func(text string) builtStep) {
	b.t.Helper()
	b.ok(append([]string{"build", "--metadata-file", "built.json"}, args...)...)
	text := strings.Replace(b.read("built.json"), `"veneer.steps"`, `"steps"`, 1)
	f = decode[builtFile](b.t, text)
	last := 0.0
	for _, s := range f.Steps {
		if s.Name == "" || s.Started < last || s.Seconds < 0 || (s.Layer == "") != (s.Bytes == 0) {
			b.t.Errorf("step %+v of %+v", s, f.Steps)
		}
		last = s.Started
	}
	return f, func(text string) builtStep {
		b.t.Helper()
		for _, s := range f.Steps {
			if strings.Contains(s.Name, text) {
				return s
			}
		}
		b.t.Fatalf("there is no step %q in %+v", text, f.Steps)
		return builtStep{}
	}
}

// TestReportOfSteps: what the steps of a build took, and stored, is in the metadata file and on the page.
func TestReportOfSteps(t *testing.T) {
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	b := newBench(t)
	b.ok("load", harness.DebianImage(t))
	b.write("app/file", "file")
	b.write("app/Dockerfile", `FROM debian:12 AS made
RUN sleep 0.2 && echo made > /made

FROM debian:12
COPY file /app/
COPY --from=made /made /app/
RUN true
`)
	first, find := b.built("app", "-t", "app:1")
	layers := decode[struct {
		Layers []struct{ Digest digest.Digest }
	}](t, b.ok("inspect", "app:1", "--format", "{{json .Manifest}}")).Layers
	run := find("RUN sleep")
	if run.Line != 2 || run.Cached || run.Seconds < 0.2 || run.Layer != "" || run.Platforms != nil {
		t.Errorf("a step of a stage that is copied from: %+v", run)
	}
	if s := find("COPY file"); s.Line != 5 || s.Cached || len(layers) != 3 || s.Layer != layers[1].Digest {
		t.Errorf("the first COPY: %+v; layers %v", s, layers)
	}
	if s := find("COPY --from"); s.Started < run.Started+run.Seconds || s.Layer != layers[2].Digest {
		t.Errorf("the second COPY: %+v after %+v; layers %v", s, run, layers)
	}
	if s := find("RUN true"); s.Layer != "" {
		t.Errorf("a step that changed nothing: %+v", s)
	}
	again, find := b.built("app", "-t", "app:1")
	if s := find("RUN sleep"); !s.Cached {
		t.Errorf("the second time: %+v", s)
	}
	if s := find("COPY file"); again.Digest != first.Digest || !s.Cached || s.Layer != layers[1].Digest {
		t.Errorf("the second time: %+v; image %s, %s before", s, again.Digest, first.Digest)
	}
	o := b.try("report", "app:1", "--build", "built.json", "-o", "-")
	for _, want := range []string{"COPY --from=made /made /app/", "line 6", `<a href="#layer-3">layer 3</a>`} {
		if o.code != 0 || !strings.Contains(o.out, want) || strings.Contains(o.stderr, "another") {
			t.Errorf("exit code %d, %s; the page lacks %q", o.code, o.stderr, want)
		}
	}
}

// TestStepsOfPlatforms: the file says which platforms need a step, and is of the image of each.
func TestStepsOfPlatforms(t *testing.T) {
	harness.RequireRoot(t)
	b := newBench(t)
	b.write("app/amd64", "file")
	b.write("app/arm64", "another")
	b.write("app/Dockerfile", "FROM scratch\nCOPY <<END /both\nboth\nEND\nARG TARGETARCH\nCOPY $TARGETARCH /app\n")
	f, find := b.built("app", "-t", "app:1", "--platform", "linux/amd64,linux/arm64")
	if s := find("/both"); len(f.Steps) != 4 || !slices.Equal(s.Platforms, []string{"linux/amd64", "linux/arm64"}) || s.Line != 2 {
		t.Errorf("the step that both need: %+v", f.Steps)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		platform := "linux/" + arch
		if s := find("COPY " + arch); !slices.Equal(s.Platforms, []string{platform}) || s.Line != 6 || s.Bytes == 0 {
			t.Errorf("%+v", s)
		}
		o := b.try("report", "app:1", "--platform", platform, "--build", "built.json", "-o", "-")
		if o.code != 0 || strings.Contains(o.stderr, "another") || !strings.Contains(o.out, "line 6, "+platform+"<") {
			t.Errorf("%s: exit code %d, %s", platform, o.code, o.stderr)
		}
	}
}
