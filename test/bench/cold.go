package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

const scenarioCold = "Cold page cache"

// coldCache measures builds when the kernel has forgotten all files, and a parallel read of what they must read.
func coldCache(ctx context.Context, w *world) error {
	if err := dropCaches(); err != nil {
		w.note("SKIP: cold page cache: %v", err)
		return nil
	}
	if err := w.ensureBase(ctx); err != nil {
		return err
	}
	blobs, err := w.blobFiles(ctx, base1)
	if err != nil {
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
		all, err := listFiles(w.trees.v2)
		if err != nil {
			return err
		}
		for _, c := range []struct {
			row   string
			read  []file
			blobs []file
			args  []string
		}{
			{"a later build", w.trees.changed, nil, nil},
			{"base never seen", all, blobs, []string{"--no-cache"}},
		} {
			if err := dropCaches(); err != nil {
				return err
			}
			read, err := timed(func() error { return w.mustRead(ctx, c.read, c.blobs) })
			if err != nil {
				return err
			}
			w.add(scenarioCold, "parallel read for "+c.row, sample{seconds: read})
			if err := dropCaches(); err != nil {
				return err
			}
			b := veneerBuild{root: root, from: base1, source: w.trees.v2, tag: tag2, args: c.args}
			if err := w.measured(ctx, scenarioCold, "**veneer**, "+c.row, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// mustRead looks at every path of the source, and reads files of it and blobs of the daemon.
func (w *world) mustRead(ctx context.Context, source, blobs []file) error {
	if err := statTree(w.trees.v2); err != nil {
		return err
	}
	if err := readAll(ctx, w.trees.v2, source, false); err != nil {
		return err
	}
	return readAll(ctx, w.blobDir(), blobs, false)
}

func (w *world) blobDir() string {
	return filepath.Join(w.daemon.Root(), "io.containerd.content.v1.content", "blobs", "sha256")
}

// blobFiles lists the layer blobs of an image, as files below blobDir.
func (w *world) blobFiles(ctx context.Context, name string) ([]file, error) {
	m, err := w.manifest(ctx, name)
	if err != nil {
		return nil, err
	}
	files := make([]file, len(m.Layers))
	for i, l := range m.Layers {
		files[i] = file{l.Digest.Encoded(), l.Size}
	}
	return files, nil
}

func dropCaches() error {
	settle()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o200); err != nil {
		return fmt.Errorf("drop caches: %w", err)
	}
	return nil
}
