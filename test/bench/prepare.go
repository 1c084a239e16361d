package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/image-spec/identity"
	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer/test/harness"
)

const (
	// prepareIdle is how many calls are made on the idle daemon, half of them before the builds and half after them.
	prepareIdle = 3000
	// prepareBusy is how many calls a row wants that meet its work: a p99 is then the tenth worst.
	prepareBusy = 1000
	// prepareLimit ends a row that does not come to so many.
	prepareLimit = 2 * time.Minute
	// preparePause is between two calls.
	preparePause = 2 * time.Millisecond
)

// The rows of the table; the first is what the others are compared with.
const (
	whenIdle      = "idle"
	whenComputes  = "while a program on each processor computes and writes nothing, without Veneer"
	whenWrites    = "while a program writes the same changed files and syncs them, without Veneer"
	whenWritesAll = "while a program writes the whole tree and syncs it, without Veneer"
	whenLater     = "while a later build commits"
	whenNew       = "while a build commits of which everything is new"
)

// latency is how long a second client waits for Prepare.
type latency struct {
	when            string
	p50, p99, worst time.Duration
	n               int
}

// span is a time in which something happened.
type span struct{ began, ended time.Time }

func (s span) took() time.Duration { return s.ended.Sub(s.began) }

// meets reports whether two spans have a moment in common.
func (s span) meets(o span) bool { return s.began.Before(o.ended) && o.began.Before(s.ended) }

// prepareLatency measures a second client's Prepare while the daemon idles, while builds commit, and while programs that
// have nothing to do with containerd keep the processors busy, or write the same bytes: that tells what a share of the
// processors and of the disk costs by itself.
func prepareLatency(ctx context.Context, w *world) error {
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
	parent, err := w.chainID(ctx, harness.DebianName)
	if err != nil {
		return err
	}
	all, err := listFiles(w.trees.v2)
	if err != nil {
		return err
	}
	idle, err := w.preparesIdle(ctx, parent)
	if err != nil {
		return err
	}
	var busy []latency
	for _, c := range []struct {
		when string
		work func(context.Context) (span, error)
	}{
		{whenComputes, compute},
		{whenWrites, func(ctx context.Context) (span, error) { return w.plainWrite(ctx, w.trees.changed) }},
		{whenWritesAll, func(ctx context.Context) (span, error) { return w.plainWrite(ctx, all) }},
		{whenLater, func(ctx context.Context) (span, error) { return w.commitSpan(ctx, base1) }},
		{whenNew, func(ctx context.Context) (span, error) { return w.commitSpan(ctx, harness.DebianName) }},
	} {
		calls, err := w.preparesDuring(ctx, parent, c.work)
		if err != nil {
			return fmt.Errorf("%s: %w", c.when, err)
		}
		busy = append(busy, w.latencyOf(c.when, calls))
	}
	again, err := w.preparesIdle(ctx, parent)
	if err != nil {
		return err
	}
	w.latencies = append([]latency{w.latencyOf(whenIdle, append(idle, again...))}, busy...)
	return nil
}

// chainID names the snapshot of an image.
func (w *world) chainID(ctx context.Context, name string) (string, error) {
	m, err := w.manifest(ctx, name)
	if err != nil {
		return "", err
	}
	img, err := w.imageConfig(ctx, m)
	if err != nil {
		return "", err
	}
	return identity.ChainID(img.RootFS.DiffIDs).String(), nil
}

func (w *world) latencyOf(when string, calls []span) latency {
	all := make([]time.Duration, len(calls))
	for i, c := range calls {
		all[i] = c.took()
	}
	slices.Sort(all)
	l := latency{when: when, n: len(all)}
	if l.n > 0 {
		l.p50, l.p99, l.worst = all[l.n/2], all[l.n*99/100], all[l.n-1]
	}
	w.say("Prepare %s: p50 %s, p99 %s, worst %s, of %d", when, l.p50, l.p99, l.worst, l.n)
	return l
}

// preparesIdle makes half of the calls that the idle daemon gets.
func (w *world) preparesIdle(ctx context.Context, parent string) ([]span, error) {
	settle()
	p := prober{world: w, parent: parent}
	for range prepareIdle / 2 {
		if err := p.call(ctx); err != nil {
			return nil, err
		}
	}
	return p.calls, nil
}

// preparesDuring does some work again and again, and returns those calls that met it.
func (w *world) preparesDuring(ctx context.Context, parent string, work func(context.Context) (span, error)) ([]span, error) {
	g, gctx := errgroup.WithContext(ctx)
	probing, stop := context.WithCancel(gctx)
	p := prober{world: w, parent: parent}
	g.Go(func() error {
		for probing.Err() == nil {
			// A call that was begun is ended, so that none is cut short.
			if err := p.call(gctx); err != nil {
				return err
			}
		}
		return nil
	})
	var met []span
	g.Go(func() error {
		defer stop()
		for began := time.Now(); len(met) < prepareBusy && time.Since(began) < prepareLimit; {
			busy, err := work(gctx)
			if err != nil {
				return err
			}
			met = append(met, p.take(busy)...)
		}
		return nil
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	return met, ctx.Err()
}

// prober is the second client.
type prober struct {
	*world
	parent string

	mu    sync.Mutex
	calls []span
	made  int
}

// call prepares a snapshot, which it removes again, and waits a little. What is timed is Prepare.
func (p *prober) call(ctx context.Context) error {
	sn := p.client.SnapshotService(snapshotter)
	p.made++
	key := fmt.Sprintf("bench-prepare-%d", p.made)
	began := time.Now()
	_, err := sn.Prepare(ctx, key, p.parent, snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "bench"}))
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.calls = append(p.calls, span{began, time.Now()})
	p.mu.Unlock()
	if err := sn.Remove(context.WithoutCancel(ctx), key); err != nil {
		return err
	}
	time.Sleep(preparePause)
	return nil
}

// take returns the calls that met some work, when the last of them has been answered, and forgets all.
func (p *prober) take(busy span) []span {
	for {
		p.mu.Lock()
		if n := len(p.calls); n > 0 && p.calls[n-1].began.After(busy.ended) {
			break
		}
		p.mu.Unlock()
		time.Sleep(preparePause)
	}
	defer p.mu.Unlock()
	met := slices.DeleteFunc(p.calls, func(c span) bool { return !c.meets(busy) })
	p.calls = nil
	return met
}

// plainWrite copies files and syncs the file system they are on: the floor's write, and when it was.
func (w *world) plainWrite(ctx context.Context, files []file) (span, error) {
	dest := w.path("plain")
	settle()
	began := time.Now()
	if err := writeAll(ctx, w.trees.v2, dest, files); err != nil {
		return span{}, err
	}
	return span{began, time.Now()}, os.RemoveAll(dest)
}

// compute has a program on each processor compute for a while, and tells when.
func compute(ctx context.Context) (span, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var running sync.WaitGroup
	began := time.Now()
	for range runtime.NumCPU() {
		cmd := exec.CommandContext(ctx, "sha256sum", "/dev/zero")
		if err := cmd.Start(); err != nil {
			cancel()
			running.Wait()
			return span{}, err
		}
		running.Go(func() { _ = cmd.Wait() }) // it has no end but being killed
	}
	running.Wait()
	return span{began, time.Now()}, nil
}
