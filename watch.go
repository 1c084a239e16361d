package veneer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/engine"
)

// WatchRequest says what to build again and again. Build or Context, and Open, are
// required.
type WatchRequest struct {
	// Build is what to build. Its Progress is not used.
	Build *BuildRequest
	// Context is what to build instead.
	Context *WatchContext

	// Open opens the engine for one build, calls do, and closes it: so that others can use
	// an embedded engine in between, and a daemon may start again.
	Open func(ctx context.Context, do func(context.Context, *engine.Engine) error) error
	// Settle is how long nothing must change before a build begins. 0: [DefaultSettle].
	Settle time.Duration
	// Whole is how often everything is looked at, for changes without an event. It is
	// stretched so that this takes at most a fivehundredth of the time. 0:
	// [DefaultWhole]; a negative number: never.
	Whole time.Duration
	// Poll is how often everything is looked at where there are no events. It is
	// stretched so that this takes at most a twentieth of the time. 0: [DefaultPoll].
	Poll time.Duration
	// Again has everything looked at. nil: nothing does.
	Again <-chan struct{}

	// Begin is called before a build, with the reason; nil: nobody is. What it returns is
	// told of each step; it may be nil.
	Begin func(WatchCause) Progress
	// Built is called after a build that made another image than the last one, while the
	// engine is open. Its error is one of the build. nil: nobody is.
	Built func(context.Context, *engine.Engine, *Result) error
	// Ended is called after each build, with its error, and whether it made another
	// image, when the engine is closed. If it returns an error, Watch returns that. nil:
	// nobody is.
	Ended func(context.Context, WatchEnding) error
}

// WatchContext is a build that reads a directory, such as that of a Dockerfile.
type WatchContext struct {
	// Make builds, as [BuildDockerfile] does.
	Make func(context.Context, *engine.Engine, Progress) (*Result, error)
	// Dir is followed, without what the first of the files Ignore leaves out that exists.
	Dir    string
	Ignore []string
	// Files are others that matter, such as the Dockerfile.
	Files []string
}

// check refuses a directory that is not there, as one whose name has a mistake.
func (c *WatchContext) check() error {
	info, err := os.Stat(c.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Kind: ErrNoSource, Path: c.Dir, Err: fmt.Errorf("watch: the directory %s does not exist", c.Dir)}
	case err != nil:
		return fmt.Errorf("watch: %w", err)
	case !info.IsDir():
		return &fs.PathError{Op: "watch", Path: c.Dir, Err: syscall.ENOTDIR}
	}
	return nil
}

// WatchCause says why there is a build.
type WatchCause string

// The reasons of builds.
const (
	WatchStart  WatchCause = "start"
	WatchChange WatchCause = "change"
	WatchRetry  WatchCause = "retry" // the last build failed
	WatchWhole  WatchCause = "whole" // everything is looked at
)

// WatchEnding is how a build of [Watch] ended.
type WatchEnding struct {
	Cause WatchCause
	// Result is nil after an error, and if the files are as before.
	Result *Result
	Err    error
	// Seconds is the time from when the files had settled until the image was recorded.
	Seconds float64
	// Retry is after which time the build is repeated if nothing changes; 0: it is not.
	Retry time.Duration
	// Blind tells why there are no events; empty: there are.
	Blind string
}

// Defaults of [WatchRequest].
const (
	DefaultSettle = 300 * time.Millisecond
	DefaultWhole  = 10 * time.Minute
	DefaultPoll   = 2 * time.Second
)

// Bounds of the waiting. A source that never settles is built after maxSettle. A failed
// build is repeated after firstRetry, and then after twice as long each time, up to
// lastRetry, maxRetries times; then when something changes or everything is looked at.
const (
	maxSettle  = 10 * time.Second
	firstRetry = time.Second
	lastRetry  = time.Minute
	maxRetries = 8
	// maxOvertakes is how many builds may be overtaken by changes before that is told.
	maxOvertakes = 3
)

// Watch builds an image, and builds it again each time that its sources have changed,
// until ctx ends; then it returns nil. Each image is the one that [Build] would make of
// the files as they are. A build costs what has changed, and not what there is: see
// [build.Following]. After a build that fails everything is looked at in the next one. If
// the first build fails since something that the request names is not there, Watch returns
// its error: that is most often a mistake, and waiting would hide it.
func Watch(ctx context.Context, req WatchRequest) error {
	if (req.Build == nil) == (req.Context == nil) || req.Open == nil {
		return errors.New("watch: want one thing to build, and an engine")
	}
	if req.Build != nil {
		if err := watchable(*req.Build); err != nil {
			return err
		}
	} else if err := req.Context.check(); err != nil {
		return err
	}
	w := &watcher{WatchRequest: req.withDefaults(), news: make(chan struct{}, 1)}
	w.following = build.Follow(w.note)
	defer func() { _ = w.following.Close() }() // What was followed was only read.
	for cause := WatchStart; ; {
		ending := w.build(ctx, cause)
		if ctx.Err() != nil {
			return nil // It ends as it was asked to.
		}
		if cause == WatchStart && misnamed(ending.Err) {
			return ending.Err
		}
		if w.Ended != nil && !w.overtaken(ending.Err) {
			if err := w.Ended(ctx, ending); err != nil {
				return err
			}
		}
		var ok bool
		if cause, ok = w.wait(ctx, ending); !ok {
			return nil
		}
	}
}

// watchable refuses what can be built once only.
func watchable(r BuildRequest) error {
	if _, err := r.withDefaults(); err != nil {
		return err
	}
	some := false
	for _, t := range r.Targets {
		if t.Source == "-" {
			return errors.New("watch: standard input can be read once only")
		}
		some = some || t.Op != OpDelete && t.Type != SourceImage && t.Type != SourceContainer
	}
	if !some {
		return errors.New("watch: no target has a file or directory of this host for its source")
	}
	return nil
}

func (r WatchRequest) withDefaults() WatchRequest {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&r.Settle, DefaultSettle}, {&r.Whole, DefaultWhole}, {&r.Poll, DefaultPoll}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if r.Begin == nil {
		r.Begin = func(WatchCause) Progress { return nil }
	}
	if r.Built == nil {
		r.Built = func(context.Context, *engine.Engine, *Result) error { return nil }
	}
	return r
}

// watcher is one run of [Watch].
type watcher struct {
	WatchRequest
	news chan struct{}

	following *build.Following
	made      made
	retries   int
	overtakes int
	// took is how long the last build took that looked at everything, and looked is when
	// it ended.
	took   time.Duration
	looked time.Time
}

// made is what a build made: a layer on an image, or, of a [WatchContext], an image.
type made struct {
	some             bool
	on, layer, image digest.Digest
}

func madeOf(d *build.Diff, l *build.Layer) made {
	m := made{some: true, on: d.Base.Manifest.Digest}
	if l != nil {
		m.layer = l.Desc.Digest
	}
	return m
}

// note is called when something may have changed.
func (w *watcher) note() {
	select {
	case w.news <- struct{}{}:
	default: // That is known already.
	}
}

// build builds once.
func (w *watcher) build(ctx context.Context, cause WatchCause) WatchEnding {
	begin := time.Now()
	if cause == WatchWhole {
		w.following.Doubt()
	}
	whole := cause != WatchChange
	ending := WatchEnding{Cause: cause}
	progress := w.Begin(cause)
	ending.Err = w.Open(ctx, func(ctx context.Context, e *engine.Engine) error {
		res, err := w.make(ctx, e, progress)
		if err != nil || res.same || w.made == res.made {
			return err
		}
		if err := w.Built(ctx, e, res); err != nil {
			return err
		}
		ending.Result, w.made = res, res.made
		return nil
	})
	ending.Blind, ending.Seconds = w.following.Blind(), time.Since(begin).Seconds()
	if whole || ending.Blind != "" {
		w.took, w.looked = time.Since(begin), time.Now()
	}
	if ending.Err == nil {
		w.retries = 0
		return ending
	}
	w.following.Doubt()
	if w.retries < maxRetries && !errors.As(ending.Err, new(*RunError)) {
		ending.Retry = min(firstRetry<<w.retries, lastRetry)
		w.retries++
	}
	return ending
}

func (w *watcher) make(ctx context.Context, e *engine.Engine, progress Progress) (*Result, error) {
	if c := w.Context; c != nil {
		if err := w.following.Context(ctx, e, c.Dir, c.Ignore, c.Files); err != nil {
			return nil, err
		}
		res, err := c.Make(ctx, e, progress)
		if err == nil {
			res.made = made{some: true, image: res.Digest}
		}
		return res, err
	}
	req := *w.Build
	req.Progress, req.following, req.since = progress, w.following, w.made
	return Build(ctx, e, req)
}

// wait waits for a reason to build again. ok is false if ctx ended.
func (w *watcher) wait(ctx context.Context, last WatchEnding) (cause WatchCause, ok bool) {
	retry, whole := timer(last.Retry), timer(0)
	switch {
	case last.Blind != "":
		whole = timer(max(w.Poll, 20*w.took))
	case w.Whole > 0:
		whole = timer(max(w.Whole, 500*w.took) - time.Since(w.looked))
	}
	defer retry.Stop()
	defer whole.Stop()
	select {
	case <-ctx.Done():
		return "", false
	case <-w.Again:
		return WatchWhole, true
	case <-whole.C:
		return WatchWhole, true
	case <-retry.C:
		return WatchRetry, true
	case <-w.news:
		w.retries = 0
		return WatchChange, w.settle(ctx)
	}
}

// misnamed reports whether a build failed since there is no such thing as the request
// names.
func misnamed(err error) bool {
	return slices.ContainsFunc([]error{
		ErrNoSource, ErrNoImage, ErrPlatform, ErrPlatformAbsent, ErrNoContainer, ErrEmbedded, ErrNoSnapshotter,
	}, func(kind error) bool { return errors.Is(err, kind) })
}

// overtaken reports whether a build failed since files changed while they were read,
// and the next one is to begin in any case. After a few such builds it is told.
func (w *watcher) overtaken(err error) bool {
	if err == nil || len(w.news) == 0 || w.overtakes >= maxOvertakes || !errors.Is(err, ErrSourceChanged) && !errors.Is(err, fs.ErrNotExist) {
		w.overtakes = 0
		return false
	}
	w.overtakes++
	return true
}

// timer returns a timer; 0: one that never fires.
func timer(d time.Duration) *time.Timer {
	if d == 0 {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTimer(d)
}

// settle waits until nothing changes. It returns false if ctx ended.
func (w *watcher) settle(ctx context.Context) bool {
	late := time.NewTimer(maxSettle)
	defer late.Stop()
	for {
		quiet := time.NewTimer(w.Settle)
		select {
		case <-ctx.Done():
			quiet.Stop()
			return false
		case <-w.news:
			quiet.Stop()
		case <-quiet.C:
			return true
		case <-late.C:
			quiet.Stop()
			return true
		}
	}
}
