package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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

// widestProcs is how many reads of files wait for the disk at once in the widest parallel read: as many as bring
// anything. In the plain one they are as many as the Go runtime allows, the number of processors and a little more.
const widestProcs = 16

// coldWidest is the row of the widest parallel read.
func coldWidest(build string) string {
	return fmt.Sprintf("parallel read, %d waiting for the disk at once, for %s", widestProcs, build)
}

// coldVeneer is the row of a build.
func coldVeneer(build string) string { return "**veneer**, " + build }

// coldCache measures builds when the kernel has forgotten all files, and a parallel read of what they must read: the
// program, every directory and inode of the source, and the bytes that nobody has seen; on a base never seen those of
// the whole source and of the base's files at the destination.
func coldCache(ctx context.Context, w *world) error {
	if err := dropCaches(); err != nil {
		w.note("SKIP: cold page cache: %v", err)
		return nil
	}
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
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
			{coldFirst, map[string][]file{w.trees.v2: nil, w.app: nil}, []string{"--no-cache"}},
		} {
			if err := w.coldRead(ctx, coldFloor(c.row), c.trees); err != nil {
				return err
			}
			usual := runtime.GOMAXPROCS(widestProcs)
			err := w.coldRead(ctx, coldWidest(c.row), c.trees)
			runtime.GOMAXPROCS(usual)
			if err != nil {
				return err
			}
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

// coldRead measures a parallel read.
func (w *world) coldRead(ctx context.Context, row string, trees map[string][]file) error {
	if err := dropCaches(); err != nil {
		return err
	}
	read, err := w.mustRead(ctx, trees)
	if err != nil {
		return err
	}
	w.add(scenarioCold, row, read)
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

func dropCaches() error {
	settle()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o200); err != nil {
		return fmt.Errorf("drop caches: %w", err)
	}
	return nil
}
