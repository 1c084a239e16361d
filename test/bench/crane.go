package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/veneer-build/veneer/test/harness"
)

const rowCrane = "tar, gzip, `crane append` (not unpacked)"

// craneTool appends the whole tree, as a tar made by hand, to an image in a registry.
type craneTool struct {
	crane    string
	registry *harness.Registry
}

func (t *craneTool) name() string { return "crane" }

func (t *craneTool) start(ctx context.Context, w *world) (err error) {
	if t.crane, err = harness.Crane(); err != nil {
		return err
	}
	if t.registry, err = harness.StartRegistry(ctx, harness.RegistryOptions{}); err != nil {
		return err
	}
	// .cache/tools/crane-VERSION/bin/crane
	w.versions = append(w.versions, filepath.Base(filepath.Dir(filepath.Dir(t.crane))))
	layout := w.path("crane-layout")
	defer os.RemoveAll(layout)
	if err := w.exportLayout(ctx, layout); err != nil {
		return err
	}
	_, err = quiet(ctx, t.crane, "push", "--insecure", layout, t.registry.Addr()+"/app:1")
	return err
}

func (t *craneTool) round(ctx context.Context, w *world) error {
	if err := w.trees.refresh(); err != nil {
		return err
	}
	layer := w.path("layer.tar.gz")
	defer os.Remove(layer)
	if err := warm(ctx, w.trees.v2); err != nil {
		return err
	}
	all := sample{}
	for _, args := range [][]string{
		{"tar", "-czf", layer, "--transform", `s,^\.,app,`, "-C", w.trees.v2, "."},
		{t.crane, "append", "--insecure", "-b", t.registry.Addr() + "/app:1", "-f", layer, "-t", t.registry.Addr() + "/app:2"},
	} {
		s, err := measure(ctx, command{args: args})
		if err != nil {
			return err
		}
		all.seconds += s.seconds
		all.rss = max(all.rss, s.rss)
	}
	info, err := os.Stat(layer)
	if err != nil {
		return err
	}
	all.layer = info.Size()
	w.add(scenarioRebuild, rowCrane, all)
	return nil
}

func (t *craneTool) stop(*world) error {
	if t.registry == nil {
		return nil
	}
	return t.registry.Stop()
}
