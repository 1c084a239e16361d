package dockerfile_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/test/harness"
)

const stages = `FROM BASE AS builder
ARG WORD=none
WORKDIR /src
COPY src .
RUN echo "$WORD" > made && cat a b >> made && echo told
FROM BASE
WORKDIR /app
COPY --from=builder --chmod=0600 /src/made /app/made
RUN rm /etc/issue && echo more > more
ENV A=b
CMD ["/app/run"]
`

// TestStages: a build of two stages makes the files and the config that it says,
// and the same again from what is cached.
func TestStages(t *testing.T) {
	each(t, func(f *fixture) {
		t := f.t
		f.write("src/a", "A\n")
		f.write("src/b", "B\n")
		arg := func(r *veneer.DockerfileRequest) { r.Args = map[string]string{"WORD": "word"} }
		res, w := f.build(stages, arg, epoch)
		if !strings.Contains(w.output.String(), "told\n") {
			t.Errorf("output %q", w.output.String())
		}
		want := map[string]string{".": "755 dir", "made": "600 word\nA\nB\n", "more": "644 more\n"}
		f.want(f.files("built:1", "/app"), want)
		img, err := content.Resolve(f.ctx, f.Client, "built:1", "")
		if err != nil {
			t.Fatal(err)
		}
		if c := img.Config.Config; strings.Join(c.Cmd, " ") != "/app/run" || c.WorkingDir != "/app" || c.Env[len(c.Env)-1] != "A=b" {
			t.Errorf("config %+v", c)
		}
		if n := len(res.Dockerfile.Layers); n != 3 {
			t.Errorf("%d layers, want one for WORKDIR, COPY and RUN each", n)
		}
		again, w := f.build(stages, arg, epoch)
		if again.Digest != res.Digest || again.Dockerfile.Cached != again.Dockerfile.Steps {
			t.Errorf("again: %s, %s before; %+v; done again: %q", again.Digest, res.Digest, again.Dockerfile, w.ran)
		}
		anew, w := f.build(stages, arg, epoch, func(r *veneer.DockerfileRequest) { r.NoCache = true })
		if anew.Digest != res.Digest || !w.ranStep("RUN rm") || !w.ranStep("COPY --from") {
			t.Errorf("without the cache: %s, %s before; cached: %q", anew.Digest, res.Digest, w.cached)
		}
	})
}

// TestCutOff: what a changed file makes no different is not done again.
func TestCutOff(t *testing.T) {
	f := embedded(t)
	f.write("src/a", "A\n")
	f.write("src/b", "B\n")
	before, _ := f.build(stages)
	f.write("unused", "not selected\n")
	if again, _ := f.build(stages); again.Digest != before.Digest {
		t.Errorf("the same again is %s, and was %s", again.Digest, before.Digest)
	}
	if _, w := f.build(stages); w.ranStep("RUN") || w.ranStep("COPY") {
		t.Errorf("a file that nobody selects: done again: %q", w.ran)
	}
	cut := strings.Replace(stages, "cat a b", "cat a", 1)
	f.build(cut)
	f.write("src/b", "changed\n")
	_, w := f.build(cut)
	if !w.ranStep("COPY src") || !w.ranStep("cat a") {
		t.Errorf("what depends on the file was not done again: %q", w.ran)
	}
	if w.ranStep("--from=builder") || w.ranStep("rm /etc/issue") {
		t.Errorf("what came out the same was taken up: %q", w.ran)
	}
}

// TestOnto: the result is the image before and one layer, which holds what differs.
func TestOnto(t *testing.T) {
	each(t, func(f *fixture) {
		t := f.t
		const text = `FROM BASE
RUN mkdir /made && echo $RANDOM > /dev/null && echo made > /made/file
COPY . /app
CMD ["new"]
`
		f.write("one", "1\n")
		f.write("two", "2\n")
		before, _ := f.build(text, func(r *veneer.DockerfileRequest) { r.Tags = []string{"app:1"} })
		f.write("two", "changed\n")
		onto := func(r *veneer.DockerfileRequest) { r.Onto, r.NoCache, r.Tags = "app:1", true, []string{"app:2"} }
		res, _ := f.build(text, onto)
		if res.Layer == nil || res.Changes.Modified.Count != 1 || res.Changes.Added.Count+res.Changes.Deleted.Count != 0 {
			t.Errorf("changes %+v, want the one file", res.Changes)
		}
		f.want(f.files("app:2", "/app"), map[string]string{".": "755 dir", "one": "644 1\n", "two": "644 changed\n"})
		f.want(f.files("app:2", "/made"), map[string]string{".": "755 dir", "file": "644 made\n"})
		one, err := content.Resolve(f.ctx, f.Client, "app:1", "")
		if err != nil {
			t.Fatal(err)
		}
		two, err := content.Resolve(f.ctx, f.Client, "app:2", "")
		if err != nil {
			t.Fatal(err)
		}
		if len(two.Layers) != len(one.Layers)+1 || two.DiffIDs[len(one.DiffIDs)-1] != one.DiffIDs[len(one.DiffIDs)-1] || before.Digest == res.Digest {
			t.Errorf("%d layers on %d", len(two.Layers), len(one.Layers))
		}
		if same, _ := f.build(text, func(r *veneer.DockerfileRequest) { r.Onto = "app:2" }); same.Layer != nil {
			t.Errorf("nothing changed: layer %+v, %+v", same.Layer, same.Changes)
		}
	})
}

// TestFailingRun: the error tells the exit code and the place, and nothing is left.
func TestFailingRun(t *testing.T) {
	each(t, func(f *fixture) {
		t := f.t
		f.build("FROM BASE\nRUN true\n", func(r *veneer.DockerfileRequest) { r.Tags = []string{"ok:1"} })
		harness.LeakCheck(t, f.Client, f.Snapshotter)
		_, w, err := f.try("FROM BASE\nRUN true\n\nRUN echo said; exit 7\n")
		var exit *run.ExitError
		if !errors.As(err, &exit) || exit.Code != 7 || !strings.Contains(err.Error(), "exit 7") {
			t.Fatalf("error %v", err)
		}
		if text := strings.Join(veneer.DockerfileExcerpts(err), ""); !strings.Contains(text, "Dockerfile:4") || !strings.Contains(text, ">>> RUN echo said") {
			t.Errorf("excerpt %q", text)
		}
		if !strings.Contains(w.output.String(), "said") {
			t.Errorf("output %q", w.output.String())
		}
		if _, err := content.Resolve(f.ctx, f.Client, "built:1", ""); err == nil {
			t.Error("there is an image")
		}
	})
}

// TestFromContext: FROM takes a build context that has a name, alone and with steps.
func TestFromContext(t *testing.T) {
	f := embedded(t)
	f.write("base/file", "f\n")
	named := func(r *veneer.DockerfileRequest) {
		r.Contexts = map[string]string{"files": filepath.Join(f.dir, "base")}
	}
	f.build("FROM files\n", named)
	f.want(f.files("built:1", "/"), map[string]string{".": "755 dir", "file": "644 f\n"})
	f.build("FROM files\nCOPY base/file /more/\n", named)
	f.want(f.files("built:1", "/"), map[string]string{".": "755 dir", "file": "644 f\n", "more": "755 dir", "more/file": "644 f\n"})
}

// TestOntoDeep: what Veneer put upon the first image becomes part of the layer where there are too many.
func TestOntoDeep(t *testing.T) {
	f := embedded(t)
	onto := func(below, name string, most int) (*veneer.Result, *content.Image) {
		f.write("file", name+"\n")
		res, _ := f.build("FROM scratch\nCOPY file /d/\n", func(r *veneer.DockerfileRequest) { r.Onto, r.MaxLayers, r.Tags = below, most, []string{name} })
		img, err := content.Resolve(f.ctx, f.Client, name, "")
		if err != nil {
			t.Fatal(err)
		}
		return res, img
	}
	onto("", "app:1", 0)
	onto("app:1", "app:2", 0)
	onto("app:2", "app:3", 0)
	for _, c := range []struct{ most, layers, squashed int }{{3, 2, 2}, {4, 4, 0}, {-1, 4, 0}} {
		res, img := onto("app:3", "app:4", c.most)
		if len(img.Layers) != c.layers || res.Squashed != c.squashed || res.Changes.Modified.Count != 1 || res.Dockerfile.StepBytes != 6 {
			t.Errorf("at most %d: %d layers, %d squashed, %+v, steps of %d bytes", c.most, len(img.Layers), res.Squashed, res.Changes, res.Dockerfile.StepBytes)
		}
		f.want(f.files("app:4", "/d"), map[string]string{".": "755 dir", "file": "644 app:4\n"})
	}
}
