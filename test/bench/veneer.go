package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/test/harness"
)

// The rows of Veneer.
const (
	rowLater    = "**veneer**, a later build"
	rowFirst    = "**veneer**, base never seen"
	rowMetadata = "**veneer** `--compare=metadata`, a later build"
	rowZstd     = "**veneer** `--compression=zstd`, a later build"
	rowVeneer   = "**veneer**"
)

// veneerBuild is one run of the program.
type veneerBuild struct {
	root   string // its memory of digests and indexes: a name below the temporary directory
	from   string
	source string
	tag    string
	args   []string
}

// command is the build as it is typed, but for what it tells of itself.
func (b *veneerBuild) command(w *world) []string {
	return append([]string{
		w.program, "build", "--engine", "containerd", "--address", w.daemon.Address(), "--namespace", namespace,
		"--snapshotter", snapshotter, "--root", w.path(b.root),
		"--from", b.from, "--sync", b.source + ":/app", "--tag", b.tag,
	}, b.args...)
}

// build measures a build.
func (w *world) build(ctx context.Context, b veneerBuild) (sample, error) {
	meta := w.path("metadata.json")
	args := append(b.command(w), "--progress", "quiet", "--metadata-file", meta)
	settle()
	s, err := measure(ctx, command{args: args, daemons: []int{w.pid}})
	if err != nil {
		return s, err
	}
	data, err := os.ReadFile(meta)
	if err != nil {
		return s, err
	}
	var result struct{ Veneer *veneer.Result }
	if err := json.Unmarshal(data, &result); err != nil {
		return s, fmt.Errorf("read %s: %w", meta, err)
	}
	s.steps = make(map[string]float64)
	for _, step := range result.Veneer.Steps {
		s.steps[step.Name] += step.Seconds
	}
	s.own = result.Veneer.Seconds
	if result.Veneer.Layer != nil {
		s.layer = result.Veneer.Layer.Size
	}
	return s, nil
}

// measured builds, records the sample, and removes the image, with what was its alone.
func (w *world) measured(ctx context.Context, title, tool string, b veneerBuild) error {
	s, err := w.build(ctx, b)
	if err != nil {
		return err
	}
	w.add(title, tool, s)
	return w.forget(ctx, b.tag)
}

// ensureBase makes base1, with a memory of its own that no measured build uses.
func (w *world) ensureBase(ctx context.Context) error {
	if _, err := w.client.ImageService().Get(ctx, base1); !errdefs.IsNotFound(err) {
		return err
	}
	if _, err := w.build(ctx, veneerBuild{root: "root-base", from: harness.DebianName, source: w.trees.v1, tag: base1}); err != nil {
		return err
	}
	var err error
	w.app, err = w.findApp(ctx)
	return err
}

// findApp returns the directory that holds base1's /app in its snapshot.
func (w *world) findApp(ctx context.Context) (_ string, err error) {
	chain, err := w.chainID(ctx, base1)
	if err != nil {
		return "", err
	}
	const key = "bench-app"
	sn := w.client.SnapshotService(snapshotter)
	mounts, err := sn.View(ctx, key, chain, snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "bench"}))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, sn.Remove(context.WithoutCancel(ctx), key)) }()
	for _, option := range mounts[0].Options {
		if lower, ok := strings.CutPrefix(option, "lowerdir="); ok {
			top, _, _ := strings.Cut(lower, ":")
			return filepath.Join(top, "app"), nil
		}
	}
	return "", fmt.Errorf("find the layer of /app: no lowerdir in %v", mounts[0].Options)
}

const (
	tagNew  = "docker.io/library/app:new"
	tag2    = "docker.io/library/app:2"
	tagSame = "docker.io/library/app:same"
	// warmRoot is the memory that later builds find.
	warmRoot = "root-warm"
)

type veneerTool struct{}

func (t *veneerTool) name() string { return "veneer" }

func (t *veneerTool) start(ctx context.Context, w *world) error {
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
	// The memory that later builds find: each tree was built from before.
	for _, source := range []string{w.trees.v1, w.trees.touched, w.trees.v2} {
		if _, err := w.build(ctx, veneerBuild{root: warmRoot, from: base1, source: source, tag: tagSame}); err != nil {
			return err
		}
	}
	return w.forget(ctx, tagSame)
}

// shortRuns is how often a round runs what takes a second or two: a moment in which the machine does something else
// would make half of it.
const shortRuns = 3

// scenario is one row to be measured.
type scenario struct {
	title, row string
	fresh      bool // the changed files' bytes are new
	touch      bool
	build      veneerBuild
}

func (t *veneerTool) round(ctx context.Context, w *world) error {
	const cold = "root-cold"
	later := func(args ...string) veneerBuild {
		return veneerBuild{root: warmRoot, from: base1, source: w.trees.v2, tag: tag2, args: args}
	}
	runs := []scenario{
		{scenarioNew, rowVeneer, true, false, veneerBuild{root: cold, from: harness.DebianName, source: w.trees.v2, tag: tagNew}},
	}
	for range shortRuns {
		runs = append(
			runs,
			scenario{scenarioRebuild, rowFirst, true, false, veneerBuild{root: cold, from: base1, source: w.trees.v2, tag: tag2}},
			scenario{scenarioRebuild, rowLater, true, false, later()},
			scenario{scenarioRebuild, rowMetadata, true, false, later("--compare", "metadata")},
			scenario{scenarioRebuild, rowZstd, true, false, later("--compression", "zstd")},
			scenario{scenarioSame, rowVeneer, false, false, veneerBuild{root: warmRoot, from: base1, source: w.trees.v1, tag: tagSame}},
			scenario{scenarioTimes, rowVeneer, false, true, veneerBuild{root: warmRoot, from: base1, source: w.trees.touched, tag: tagSame}},
		)
	}
	for _, s := range runs {
		if s.build.root == cold {
			if err := os.RemoveAll(w.path(cold)); err != nil {
				return err
			}
		}
		if s.fresh {
			if err := w.trees.refresh(); err != nil {
				return err
			}
		}
		if s.touch {
			if err := w.trees.touch(); err != nil {
				return err
			}
		}
		if err := warm(ctx, s.build.source, w.app, w.path(s.build.root)); err != nil {
			return err
		}
		if err := w.measured(ctx, s.title, s.row, s.build); err != nil {
			return err
		}
	}
	return nil
}

func (t *veneerTool) stop(*world) error { return nil }
