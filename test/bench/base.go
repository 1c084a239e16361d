package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	cstore "github.com/containerd/containerd/v2/core/content"

	"github.com/veneer-build/veneer/test/harness"
)

const (
	scenarioBase = "Base larger outside the destination"
	baseFirst    = "base never seen"
	baseLater    = "a later build"
)

// baseRow names the row of a build on a base of so many Debians.
func baseRow(factor int, build string) string {
	return fmt.Sprintf("**veneer**, ×%d, %s", factor, build)
}

// baseSizes measures rebuilds on bases that are larger where no target looks.
func baseSizes(ctx context.Context, w *world) error {
	rootfs := w.path("debian.tar")
	if err := w.debianTar(ctx, rootfs); err != nil {
		return err
	}
	first := series{name: baseFirst}
	later := series{name: baseLater}
	for _, factor := range []int{1, 3, 10} {
		name := fmt.Sprintf("docker.io/library/base:%d", factor)
		app := fmt.Sprintf("docker.io/library/onbase:%d", factor)
		if err := w.largeBase(rootfs, name, factor); err != nil {
			return err
		}
		warm := fmt.Sprintf("root-base-%d", factor)
		if _, err := w.build(ctx, veneerBuild{root: "root-base", from: name, source: w.trees.v1, tag: app}); err != nil {
			return err
		}
		if _, err := w.build(ctx, veneerBuild{root: warm, from: app, source: w.trees.v2, tag: tag2}); err != nil {
			return err
		}
		for range w.rounds {
			for _, b := range []struct {
				row, root string
				fresh     bool
			}{
				{baseFirst, "root-cold", true},
				{baseLater, warm, false},
			} {
				if b.fresh {
					if err := os.RemoveAll(w.path(b.root)); err != nil {
						return err
					}
				}
				if err := w.trees.refresh(); err != nil {
					return err
				}
				err := w.measured(ctx, scenarioBase, baseRow(factor, b.row), veneerBuild{root: b.root, from: app, source: w.trees.v2, tag: tag2})
				if err != nil {
					return err
				}
			}
		}
		t := w.table(scenarioBase)
		first.add(fmt.Sprintf("×%d", factor), t.find(baseRow(factor, baseFirst)))
		later.add(fmt.Sprintf("×%d", factor), t.find(baseRow(factor, baseLater)))
		if err := w.forget(ctx, app, name); err != nil {
			return err
		}
	}
	w.plots = append(w.plots, plot{
		file: "benchmarks-base.svg", title: "Rebuild of /app, by the size of the base outside it",
		axis: "base, in Debians", series: []series{first, later},
	})
	return nil
}

// debianTar writes the tar of Debian's layer.
func (w *world) debianTar(ctx context.Context, dest string) (err error) {
	m, err := w.manifest(ctx, harness.DebianName)
	if err != nil {
		return err
	}
	blob, err := w.client.ContentStore().ReaderAt(ctx, m.Layers[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	z, err := gzip.NewReader(cstore.NewReader(blob))
	if err != nil {
		return err
	}
	out, err := os.Create(dest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, z)
	return err
}

// largeBase imports Debian with copies of itself below /opt, in a layer of their own.
func (w *world) largeBase(rootfs, name string, factor int) error {
	layers := []string{rootfs}
	if factor > 1 {
		copies := w.path("copies.tar")
		defer os.Remove(copies)
		if err := writeCopies(rootfs, copies, factor-1); err != nil {
			return err
		}
		layers = append(layers, copies)
	}
	archive := w.path("base.oci.tar")
	defer os.Remove(archive)
	if err := harness.WriteImage(archive, harness.Image{Name: name, Layers: layers}); err != nil {
		return err
	}
	return w.load(namespace, archive)
}

// writeCopies writes a tar that holds another several times, each below a directory of its own.
func writeCopies(rootfs, dest string, n int) (err error) {
	out, err := os.Create(dest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	for i := range n {
		if err := appendBelow(w, rootfs, fmt.Sprintf("opt/copy%d", i)); err != nil {
			return err
		}
	}
	return w.Close()
}

func appendBelow(w *tar.Writer, from, dir string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		slash := ""
		if h.Typeflag == tar.TypeDir {
			slash = "/"
		}
		h.Name = path.Join(dir, h.Name) + slash
		if h.Typeflag == tar.TypeLink {
			h.Linkname = path.Join(dir, h.Linkname)
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil {
			return err
		}
	}
}
