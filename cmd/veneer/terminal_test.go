package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/test/harness"
)

var update = flag.Bool("update", false, "write the golden files anew, see golden")

// golden compares text with a file below testdata. With -update it writes the file.
func golden(t *testing.T, file, text string) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != text {
		t.Errorf("%s (%v):\n%s", file, err, text)
	}
}

// show is what happens on a terminal at times that the test sets.
type show struct {
	*harness.Terminal
	t     *testing.T
	app   *app
	now   time.Time
	live  *live
	width int
	seen  strings.Builder
}

func newShow(t *testing.T, width, height int) *show {
	t.Helper()
	x := &show{Terminal: harness.OpenTerminal(t, width, height), t: t, now: time.Unix(1e9, 0), width: width}
	x.app = newApp(streams{err: x.File}, func(name string) (string, bool) { return "xterm", name == "TERM" })
	return x
}

// display is what --progress tty shows steps with.
func (x *show) display(ctx context.Context) *ttyDisplay {
	d := x.app.newTTYDisplay(ctx)
	x.direct(d.live)
	return d
}

// steps are what --progress tty shows the steps of a Dockerfile with.
func (x *show) steps(ctx context.Context) *ttySteps {
	s := x.app.newTTYSteps(ctx)
	x.direct(s.live)
	s.began = x.now
	return s
}

func (x *show) direct(l *live) {
	x.live = l
	l.now, l.screen.every = func() time.Time { return x.now }, 0
}

// after lets time pass, with a frame each tenth of a second.
func (x *show) after(d time.Duration, do func()) {
	for range d / frameTime {
		do()
		x.now = x.now.Add(frameTime)
		x.live.screen.frame()
	}
}

// look notes what the screen shows, none of whose lines may be too long.
func (x *show) look(what string) {
	x.t.Helper()
	x.Sync()
	fmt.Fprintf(&x.seen, "== %s, %d columns\n%s", what, x.width, x.Screen())
	for line := range strings.Lines(x.Screen()) {
		if w := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); w > x.width {
			x.t.Errorf("%s: %d columns of %d: %q", what, w, x.width, line)
		}
	}
}

func (x *show) resize(width int) {
	x.Sync()
	x.Resize(width, 24)
	x.width = width
	if x.live.opened {
		x.live.screen.frame()
	}
}

// acts are what can be seen on a terminal. Each looks at it at its important moments.
func acts() map[string]func(x *show) {
	return map[string]func(x *show){
		"build": actBuild, "failed": actFailed, "cancelled": actCancelled, "pull": actPull, "push": actPush, "dockerfile": actDockerfile,
		"dockerfile-failed": actDockerfileFailed, "dockerfile-cancelled": actDockerfileCancelled, "characters": actCharacters,
	}
}

// TestTerminals holds what a terminal shows at several widths against
// testdata/progress; each changes its width in between. With -update these files are
// written anew.
func TestTerminals(t *testing.T) {
	for name, act := range acts() {
		for _, width := range []int{20, 40, 80, 120, 300} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				x := newShow(t, width, 24)
				act(x)
				x.look("end")
				if raw := x.Close(); strings.Count(raw, "\x1b[?7l") != strings.Count(raw, "\x1b[?7h") {
					t.Error("automatic margins are left switched off")
				}
				golden(t, fmt.Sprintf("progress/%s-%d.txt", name, width), x.seen.String())
			})
		}
	}
}

// TestLowTerminal: of many steps so many are shown as there are lines for, down to a
// terminal of five, and what was written is all there in the end.
func TestLowTerminal(t *testing.T) {
	for _, height := range []int{2, 5, 8, 12} {
		x := newShow(t, 80, height)
		s := x.steps(t.Context())
		s.Steps(0, 6)
		for n := range 6 {
			s.Started(n, fmt.Sprintf("[%d/6] RUN step", n))
			s.Output(n, []byte("one\ntwo\nthree\n"))
		}
		x.after(time.Second, func() {})
		x.look(fmt.Sprintf("%d lines", height))
		for n := range 6 {
			s.Ended(n, veneer.StepEnding{})
			x.after(time.Second, func() {})
		}
		s.close()
		x.look("end")
		x.Close()
		golden(t, fmt.Sprintf("progress/low-%d.txt", height), x.seen.String())
	}
}

func actBuild(x *show) {
	d := x.display(x.t.Context())
	d.Step(veneer.Step{Kind: "resolve"})
	x.after(300*time.Millisecond, func() {})
	d.Step(veneer.Step{Kind: "compare", Platform: "linux/amd64"})
	x.after(4*time.Second, func() { d.Count(1000, 12_345_678) })
	x.look("a step without a total")
	x.resize(x.width * 2 / 3)
	x.look("narrower")
	d.Step(veneer.Step{Kind: "layer"})
	d.Total(200, 300_000_000)
	x.after(2*time.Second, func() { d.Count(1, 1_000_000) })
	x.look("too early for a time to go")
	x.app.notify("warning: this stays above the live lines")
	x.after(2*time.Second, func() { d.Count(1, 1_000_000) })
	x.look("a step with a total")
	x.resize(x.width * 3 / 2)
	x.look("wider")
	x.after(16*time.Second, func() { d.Count(1, 1_625_000) })
	d.Done()
	d.Close()
}

func actFailed(x *show) {
	d := x.display(x.t.Context())
	d.Step(veneer.Step{Kind: "compare"})
	x.after(time.Second, func() { d.Count(7, 1000) })
	d.Close()
}

func actCancelled(x *show) {
	ctx, cancel := context.WithCancel(x.t.Context())
	d := x.display(ctx)
	d.Step(veneer.Step{Kind: "resolve"})
	x.after(100*time.Millisecond, func() {})
	d.Step(veneer.Step{Kind: "compare"})
	x.after(time.Second, func() { d.Count(7, 1000) })
	x.Type("^C") // as the terminal shows it, before the signal comes
	x.WaitFor("^C")
	cancel()
	x.WaitFor("cancelled")
	d.Count(1, 1)
	d.Step(veneer.Step{Kind: "record"}) // too late to be shown
	d.Close()
}

func blob(name string, size int64, mediaType string) ocispec.Descriptor {
	return ocispec.Descriptor{Digest: digest.FromString(name), Size: size, MediaType: mediaType}
}

func actPull(x *show) {
	d := x.display(x.t.Context())
	d.Step(veneer.Step{Kind: "pull", Of: "registry.example.org/team/application:2.1"})
	tell := blobProgress(d, false)
	manifest := blob("manifest", 1000, ocispec.MediaTypeImageManifest)
	old, half, whole := blob("old", 5e6, ocispec.MediaTypeImageLayerGzip), blob("half", 4e8, ocispec.MediaTypeImageLayerGzip), blob("new", 4e8, ocispec.MediaTypeImageLayerGzip)
	tell(veneer.BlobEvent{Blob: manifest, Done: 1000})
	x.after(time.Second, func() {})
	x.look("the manifest is not read yet")
	tell(veneer.BlobEvent{Blob: old, Done: old.Size, Planned: true})
	tell(veneer.BlobEvent{Blob: half, Done: 2e8, Planned: true})
	tell(veneer.BlobEvent{Blob: whole, Planned: true})
	tell(veneer.BlobEvent{Blob: manifest, Done: 1000, Finished: true})
	tell(veneer.BlobEvent{Blob: old, Finished: true})
	at := int64(0)
	x.after(10*time.Second, func() {
		at += 1e6
		tell(veneer.BlobEvent{Blob: half, Done: 2e8 + at})
		tell(veneer.BlobEvent{Blob: whole, Done: at})
	})
	x.look("half of one layer was here")
	x.resize(x.width - 5)
	x.look("narrower")
	for _, b := range []ocispec.Descriptor{half, whole} {
		tell(veneer.BlobEvent{Blob: b, Done: b.Size})
		tell(veneer.BlobEvent{Blob: b, Done: b.Size, Finished: true})
	}
	d.Step(veneer.Step{Kind: "unpack"})
	x.after(time.Second, func() {})
	d.Done()
	d.Close()
}

func actPush(x *show) {
	d := x.display(x.t.Context())
	d.Step(veneer.Step{Kind: "push", Of: "registry.example.org/team/application:2.1"})
	tell := blobProgress(d, true)
	manifest, base, own := blob("manifest", 1000, ocispec.MediaTypeImageManifest), blob("base", 4e8, ocispec.MediaTypeImageLayerGzip), blob("own", 5e7, ocispec.MediaTypeImageLayerGzip)
	for _, b := range []ocispec.Descriptor{manifest, base, own} {
		tell(veneer.BlobEvent{Blob: b, Planned: true})
	}
	tell(veneer.BlobEvent{Blob: own})
	at := int64(0)
	send := func() {
		at += 1e6
		tell(veneer.BlobEvent{Blob: own, Done: at})
	}
	x.after(2*time.Second, send)
	x.look("the registry was not asked for the base yet")
	tell(veneer.BlobEvent{Blob: base, Finished: true})
	x.after(2*time.Second, send)
	x.look("it has the base")
	x.resize(x.width - 5)
	x.after(time.Second, send)
	tell(veneer.BlobEvent{Blob: own, Done: own.Size, Finished: true})
	tell(veneer.BlobEvent{Blob: manifest, Done: 1000, Finished: true})
	d.Done()
	d.Close()
}

func actDockerfile(x *show) {
	s := x.steps(x.t.Context())
	s.Started(1, "[internal] load metadata for docker.io/library/golang:1.26")
	x.after(200*time.Millisecond, func() {})
	s.Ended(1, veneer.StepEnding{})
	s.Steps(0, 4)
	s.Started(2, "[build 1/2] FROM docker.io/library/golang:1.26@sha256:0123456789abcdef")
	s.Ended(2, veneer.StepEnding{Cached: true})
	s.Steps(1, 4)
	s.Started(3, "[build 2/2] RUN go build -o /out/app ./cmd/app")
	s.Started(4, "[assets 2/2] RUN npm ci")
	for i := range 12 {
		s.Output(3, fmt.Appendf(nil, "compiling package %d of a name that is rather long for a small terminal\n", i))
	}
	s.Output(4, []byte("added 3 packages\nnot a whole line"))
	x.after(1500*time.Millisecond, func() {})
	x.look("two steps side by side")
	x.resize(x.width / 2)
	x.look("narrower")
	s.Ended(4, veneer.StepEnding{})
	s.Steps(2, 4)
	x.after(time.Second, func() {})
	x.look("one is over")
	s.Warn("a check finds something doubtful")
	s.Ended(3, veneer.StepEnding{})
	s.close()
}

func actDockerfileFailed(x *show) {
	s := x.steps(x.t.Context())
	s.Steps(0, 3)
	s.Started(1, "[2/3] RUN make")
	s.Started(2, "[other 2/2] RUN sleep 1000")
	s.Output(1, []byte("cc main.c\nmain.c:1: error: expected ';'\n"))
	x.after(time.Second, func() {})
	err := &veneer.RunError{Command: "make", Err: errors.New("exit code 2")}
	s.Ended(1, veneer.StepEnding{Err: err})
	s.Ended(2, veneer.StepEnding{Err: context.Canceled})
	s.explain(err)
}

func actDockerfileCancelled(x *show) {
	ctx, cancel := context.WithCancelCause(x.t.Context())
	s := x.steps(ctx)
	s.Steps(0, 3)
	s.Started(1, "[2/3] RUN make")
	s.Output(1, []byte("cc main.c\n"))
	x.after(time.Second, func() {})
	cancel(signalError{2})
	x.WaitFor("cancelled")
	s.Ended(1, veneer.StepEnding{Err: errors.New("exit code 137")})
	s.explain(signalError{2})
}

// actCharacters: wide characters, combining ones, and a name without an end.
func actCharacters(x *show) {
	d := x.display(x.t.Context())
	x.resize(x.width - 3)
	for _, name := range []string{"日本語日本語日本語日本語日本語日本語日本語", strings.Repeat("e\u0301", 50), "👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦", "a\x1b[2Jb" + strings.Repeat("x", 400)} {
		d.Step(veneer.Step{Kind: "pull", Of: name})
		x.after(time.Second, func() { d.Count(1, 1e6) })
		x.look("running")
	}
	d.Done()
	d.Close()
}
