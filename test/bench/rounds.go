package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/veneer-build/veneer/test/harness"
)

// The scenarios of the rounds, by the titles of their tables.
const (
	scenarioRebuild = "Rebuild for the second state"
	scenarioSame    = "Nothing changed"
	scenarioTimes   = "Only mtimes changed"
	scenarioNew     = "Everything is new"
)

// tool is something that makes images, and is measured.
type tool interface {
	name() string
	// start makes ready what the rounds need. An error that wraps harness.ErrUnavailable skips the tool.
	start(ctx context.Context, w *world) error
	// round measures each scenario once, and records the samples.
	round(ctx context.Context, w *world) error
	// stop ends what start has begun; it is called even if start failed.
	stop(w *world) error
}

// rounds runs all tools in turn, so that a slow spell of the machine meets them all.
func rounds(ctx context.Context, w *world) (err error) {
	for _, title := range []string{scenarioRebuild, scenarioSame, scenarioTimes, scenarioNew} {
		w.table(title)
	}
	var running []tool
	defer func() {
		for _, t := range running {
			err = errors.Join(err, t.stop(w))
		}
	}()
	for _, t := range []tool{&veneerTool{}, &buildkitTool{}, &buildahTool{}, &umociTool{}, &craneTool{}, &commitTool{}} {
		if !wants(w.tools, t.name()) {
			continue
		}
		running = append(running, t)
		w.say("start %s", t.name())
		if err := t.start(ctx, w); errors.Is(err, harness.ErrUnavailable) {
			w.note("SKIP: %s: %v", t.name(), err)
			running = running[:len(running)-1]
			if err := t.stop(w); err != nil {
				return err
			}
		} else if err != nil {
			return fmt.Errorf("start %s: %w", t.name(), err)
		}
	}
	for i := range w.rounds {
		w.say("round %d of %d", i+1, w.rounds)
		if err := w.floors(ctx); err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		for _, t := range running {
			if err := t.round(ctx, w); err != nil {
				return fmt.Errorf("%s: %w", t.name(), err)
			}
		}
	}
	return nil
}

// unavailable is an error that skips a tool.
func unavailable(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), harness.ErrUnavailable)
}
