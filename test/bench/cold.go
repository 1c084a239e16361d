package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
)

const (
	scenarioCold = "Cold page cache"
	coldLater    = "a later build"
	coldFirst    = "base never seen"
	// The steps of the parallel read.
	stepInodes = "directories and inodes"
	stepBytes  = "bytes"
)

// coldFloor is the row of the parallel read that a build's row is compared with.
func coldFloor(build string) string { return "parallel read for " + build }

// coldVeneer is the row of a build.
func coldVeneer(build string) string { return "**veneer**, " + build }

// coldCache measures builds when the kernel has forgotten all files, and a parallel read of what they must read: the
// program, every directory and inode of the source, and the bytes that nobody has seen; on a base never seen those of
// the whole source and of the base's files at the destination.
func coldCache(ctx context.Context, w *world) (err error) {
	if err := dropCaches(); err != nil {
		w.note("SKIP: cold page cache: %v", err)
		return nil
	}
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
	app, done, err := w.openApp(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	const root = "root-coldcache"
	if _, err := w.build(ctx, veneerBuild{root: root, from: base1, source: w.trees.v2, tag: tag2}); err != nil {
		return err
	}
	if err := w.forget(ctx, tag2); err != nil {
		return err
	}
	for range w.rounds {
		if err := w.trees.refresh(); err != nil {
			return err
		}
		for _, c := range []struct {
			row   string
			trees map[string][]file // whose inodes are read, and whose bytes; nil: all
			args  []string
		}{
			{coldLater, map[string][]file{w.trees.v2: w.trees.changed}, nil},
			{coldFirst, map[string][]file{w.trees.v2: nil, app: nil}, []string{"--no-cache"}},
		} {
			if err := dropCaches(); err != nil {
				return err
			}
			read, err := w.mustRead(ctx, c.trees)
			if err != nil {
				return err
			}
			w.add(scenarioCold, coldFloor(c.row), read)
			if err := dropCaches(); err != nil {
				return err
			}
			b := veneerBuild{root: root, from: base1, source: w.trees.v2, tag: tag2, args: c.args}
			if err := w.measured(ctx, scenarioCold, coldVeneer(c.row), b); err != nil {
				return err
			}
		}
	}
	return nil
}

// mustRead reads every directory and inode of some trees, then the bytes of their files and of the program, and tells
// how long each took.
func (w *world) mustRead(ctx context.Context, trees map[string][]file) (sample, error) {
	s := sample{steps: make(map[string]float64)}
	for dir, files := range trees {
		inodes, err := timed(func() error { return statTree(dir) })
		if err != nil {
			return s, err
		}
		// Names and sizes are in memory now: listing them again reads nothing.
		if files == nil {
			if files, err = listFiles(dir); err != nil {
				return s, err
			}
		}
		bytes, err := timed(func() error { return readAll(ctx, dir, files, false) })
		if err != nil {
			return s, err
		}
		s.steps[stepInodes] += inodes
		s.steps[stepBytes] += bytes
	}
	program, err := timed(func() error {
		return readAll(ctx, filepath.Dir(w.program), []file{{path: filepath.Base(w.program)}}, false)
	})
	s.steps[stepBytes] += program
	return s.sum(), err
}

// openApp returns the directory that holds base1's /app in its snapshot, until done is called.
func (w *world) openApp(ctx context.Context) (dir string, done func() error, err error) {
	chain, err := w.chainID(ctx, base1)
	if err != nil {
		return "", nil, err
	}
	const key = "bench-cold"
	sn := w.client.SnapshotService(snapshotter)
	mounts, err := sn.View(ctx, key, chain, snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "bench"}))
	if err != nil {
		return "", nil, err
	}
	done = func() error { return sn.Remove(context.WithoutCancel(ctx), key) }
	for _, option := range mounts[0].Options {
		if lower, ok := strings.CutPrefix(option, "lowerdir="); ok {
			top, _, _ := strings.Cut(lower, ":")
			return filepath.Join(top, "app"), done, nil
		}
	}
	return "", nil, errors.Join(fmt.Errorf("find the layer of /app: no lowerdir in %v", mounts[0].Options), done())
}

func dropCaches() error {
	settle()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o200); err != nil {
		return fmt.Errorf("drop caches: %w", err)
	}
	return nil
}
