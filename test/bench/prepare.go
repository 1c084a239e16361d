package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/image-spec/identity"

	"github.com/veneer-build/veneer/test/harness"
)

const (
	prepareSamples = 400
	prepareLimit   = 3 * time.Minute
)

// latency is how long a second client waits for Prepare.
type latency struct {
	when     string
	p50, p99 time.Duration
	n        int
}

// prepareLatency measures a second client's Prepare while the daemon idles, and while builds run one after another.
func prepareLatency(ctx context.Context, w *world) error {
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
	m, err := w.manifest(ctx, harness.DebianName)
	if err != nil {
		return err
	}
	img, err := w.imageConfig(ctx, m)
	if err != nil {
		return err
	}
	parent := identity.ChainID(img.RootFS.DiffIDs).String()
	settle()
	var always atomic.Bool
	always.Store(true)
	idle, err := w.prepares(ctx, parent, &always)
	if err != nil {
		return err
	}
	w.addLatency("idle", idle)
	for _, c := range []struct {
		when  string
		build veneerBuild
	}{
		{"during later builds", veneerBuild{root: "root-prepare", from: base1, source: w.trees.v2, tag: tag2}},
		{"during builds of which everything is new", veneerBuild{root: "root-prepare", from: harness.DebianName, source: w.trees.v2, tag: tagNew}},
	} {
		busy, err := w.preparesDuring(ctx, parent, c.build)
		if err != nil {
			return err
		}
		w.addLatency(c.when, busy)
	}
	return nil
}

func (w *world) addLatency(when string, all []time.Duration) {
	slices.Sort(all)
	l := latency{when: when, n: len(all)}
	if l.n > 0 {
		l.p50, l.p99 = all[l.n/2], all[l.n*99/100]
	}
	w.latencies = append(w.latencies, l)
	w.say("Prepare %s: p50 %s, p99 %s, of %d", when, l.p50, l.p99, l.n)
}

// preparesDuring measures while builds run, until there are samples enough.
func (w *world) preparesDuring(ctx context.Context, parent string, b veneerBuild) ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running atomic.Bool
	var samples []time.Duration
	done := make(chan error, 1)
	go func() {
		var err error
		samples, err = w.prepares(ctx, parent, &running)
		done <- err
	}()
	for {
		select {
		case err := <-done:
			return samples, err
		default:
		}
		err := w.trees.refresh()
		if err == nil {
			settle()
			running.Store(true)
			_, err = w.build(ctx, b)
			running.Store(false)
		}
		if err == nil {
			err = w.forget(ctx, b.tag)
		}
		if err != nil {
			cancel()
			return nil, errors.Join(err, ignoreCanceled(<-done))
		}
	}
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// prepares prepares and removes snapshots, and times those calls of Prepare that begin while count is set.
func (w *world) prepares(ctx context.Context, parent string, count *atomic.Bool) ([]time.Duration, error) {
	sn := w.client.SnapshotService(snapshotter)
	keep := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "bench"})
	var samples []time.Duration
	for i, began := 0, time.Now(); len(samples) < prepareSamples && time.Since(began) < prepareLimit; i++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		counts := count.Load()
		key := fmt.Sprintf("bench-prepare-%d", i)
		start := time.Now()
		if _, err := sn.Prepare(ctx, key, parent, keep); err != nil {
			return nil, err
		}
		if counts {
			samples = append(samples, time.Since(start))
		}
		if err := sn.Remove(context.WithoutCancel(ctx), key); err != nil {
			return nil, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return samples, nil
}
