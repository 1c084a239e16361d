package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/veneer-build/veneer/test/harness"
)

const scenarioChanges = "By files changed"

// changeCounts measures rebuilds after none, one, a hundred, a tenth and all of the files have changed.
func changeCounts(ctx context.Context, w *world) (err error) {
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
	var buildkit *buildkitTool
	if wants(w.tools, "buildkit") {
		buildkit = &buildkitTool{}
		defer func() { err = errors.Join(err, buildkit.stop(w)) }()
		if err := buildkit.start(ctx, w); errors.Is(err, harness.ErrUnavailable) {
			w.note("SKIP: buildkit: %v", err)
			buildkit = nil
		} else if err != nil {
			return err
		}
	}
	c := counts{world: w, buildkit: buildkit, dir: w.path("vary")}
	for round := range w.rounds {
		// BuildKit takes long, and its times differ little: once is enough for a plot.
		if round > 0 {
			c.buildkit = nil
		}
		if err := c.round(ctx); err != nil {
			return err
		}
	}
	w.plots = append(w.plots, c.plot())
	return nil
}

type counts struct {
	*world
	buildkit *buildkitTool
	dir      string
	points   []string
}

const rootVary = "root-vary"

func (c *counts) round(ctx context.Context) error {
	if err := copyTree(ctx, c.trees.v1, c.dir); err != nil {
		return err
	}
	// The memory of a tree that was built before.
	if _, err := c.build(ctx, veneerBuild{root: rootVary, from: base1, source: c.dir, tag: tag2}); err != nil {
		return err
	}
	if c.buildkit != nil {
		if _, err := c.buildkit.build(ctx, c.world, c.dir, tag2); err != nil {
			return err
		}
	}
	files, err := listFiles(c.dir)
	if err != nil {
		return err
	}
	c.points = nil
	for _, p := range []struct {
		name string
		n    int
	}{{"0", 0}, {"1", 1}, {"100", 100}, {"10 %", len(files) / 10}, {"all", len(files)}} {
		if err := c.point(ctx, p.name, spread(files, p.n)); err != nil {
			return err
		}
	}
	return nil
}

// spread takes n of the files, all over the tree.
func spread(files []file, n int) []file {
	out := make([]file, n)
	for i := range out {
		out[i] = files[i*len(files)/n]
	}
	return out
}

func (c *counts) point(ctx context.Context, name string, changed []file) error {
	c.points = append(c.points, name)
	if err := refresh(c.dir, changed); err != nil {
		return err
	}
	stat, err := timed(func() error { return statTree(c.dir) })
	if err != nil {
		return err
	}
	floor, err := c.floorOf(ctx, c.dir, changed)
	if err != nil {
		return err
	}
	floor.steps["stat"] = stat
	c.add(scenarioChanges, c.row(name, "floor"), floor.sum())
	err = c.measured(ctx, scenarioChanges, c.row(name, "veneer"), veneerBuild{root: rootVary, from: base1, source: c.dir, tag: tag2})
	if err != nil || c.buildkit == nil {
		return err
	}
	s, err := c.buildkit.build(ctx, c.world, c.dir, tag2)
	if err != nil {
		return err
	}
	if len(changed) == 0 {
		s.layer = 0 // it has that already
	}
	c.add(scenarioChanges, c.row(name, "BuildKit"), s)
	return nil
}

func (c *counts) row(point, who string) string { return fmt.Sprintf("%s changed, %s", point, who) }

func (c *counts) plot() plot {
	p := plot{
		file: "benchmarks-changes.svg", title: fmt.Sprintf("Rebuild of a tree of %d files, by files changed", c.trees.files),
		axis: "files changed",
	}
	for _, who := range []string{"BuildKit", "veneer", "floor"} {
		s := series{name: who}
		for _, point := range c.points {
			s.add(point, c.table(scenarioChanges).find(c.row(point, who)))
		}
		if len(s.points) > 0 {
			p.series = append(p.series, s)
		}
	}
	return p
}
