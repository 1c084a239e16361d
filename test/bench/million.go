package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/veneer-build/veneer/test/harness"
)

const (
	scenarioMillion = "A million files"
	millionNew      = "**veneer**, everything is new"
	millionFirst    = "**veneer**, base never seen, 1000 changed"
	millionLater    = "**veneer**, a later build, 1000 changed"
	million         = thousand * thousand
	thousand        = 1000
)

// millionFiles builds from a tree of a thousand directories of a thousand small files.
func millionFiles(ctx context.Context, w *world) error {
	dir := w.path("million")
	changed := make([]file, 0, thousand)
	for i := range thousand {
		sub := fmt.Sprintf("d%03d", i)
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
		for j := range thousand {
			name := filepath.Join(sub, fmt.Sprintf("f%03d", j))
			if err := os.WriteFile(filepath.Join(dir, name), []byte("this is file "+name+"\n"), 0o644); err != nil {
				return err
			}
		}
		changed = append(changed, file{filepath.Join(sub, "f500"), 24})
	}
	const name = "docker.io/library/million:1"
	s, err := w.build(ctx, veneerBuild{root: "root-million", from: harness.DebianName, source: dir, tag: name})
	if err != nil {
		return err
	}
	w.add(scenarioMillion, millionNew, s)
	for range w.rounds {
		if err := refresh(dir, changed); err != nil {
			return err
		}
		stat, err := timed(func() error { return statTree(dir) })
		if err != nil {
			return err
		}
		w.add(scenarioMillion, "stat of the tree", sample{seconds: stat})
		for _, b := range []struct {
			row  string
			args []string
		}{{millionFirst, []string{"--no-cache"}}, {millionLater, nil}} {
			err := w.measured(ctx, scenarioMillion, b.row, veneerBuild{root: "root-million", from: name, source: dir, tag: tag2, args: b.args})
			if err != nil {
				return err
			}
		}
	}
	return w.forget(ctx, name)
}
