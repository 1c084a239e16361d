package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"

	"github.com/veneer-build/veneer/test/harness"
)

// verbWork is what the part of the verbs works on.
type verbWork struct {
	*world
	tools    map[string]verbTool
	registry *harness.Registry // has the images, for who pulls them

	tree, ten, small *verbImage // those that are loaded and pulled
	full             *verbImage // as tree, of the tree's second state
	first            *verbImage // the lowest layer of ten
}

// verbRow is a command that is measured.
type verbRow struct {
	tool  string // whose command it is: a key of verbWork.tools
	label string
	args  []string
	// after returns how many bytes the command has stored, and removes what it made.
	after func(context.Context) (int64, error)
}

// verbs measures what is done with images that are made already, in turn with the tools that do the same.
func verbs(ctx context.Context, w *world) (err error) {
	v := &verbWork{world: w}
	if err := v.start(ctx); errors.Is(err, harness.ErrUnavailable) {
		w.note("SKIP: verbs: %v", err)
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.registry.Stop()) }()
	defer func() { err = errors.Join(err, os.RemoveAll(v.path(verbDir))) }()
	if err := v.makeImages(ctx); err != nil {
		return fmt.Errorf("make images: %w", err)
	}
	for range v.rounds {
		for _, img := range []*verbImage{v.tree, v.ten, v.small} {
			if err := v.bring(ctx, img); err != nil {
				return err
			}
		}
	}
	return v.here(ctx)
}

func (v *verbWork) start(ctx context.Context) (err error) {
	if v.tools, err = v.verbTools(ctx); err != nil {
		return err
	}
	v.registry, err = harness.StartRegistry(ctx, harness.RegistryOptions{})
	return err
}

// bring measures what brings an image here, unpacked. Nothing of it is here before or after.
func (v *verbWork) bring(ctx context.Context, img *verbImage) error {
	for range img.repeat {
		if err := v.run(ctx, verbTitle("load", img), v.loads(img), img.dir); err != nil {
			return err
		}
		if err := v.run(ctx, verbTitle("pull", img), v.pulls(img), v.registry.Storage()); err != nil {
			return err
		}
	}
	return nil
}

// here measures what is done with images that are here.
func (v *verbWork) here(ctx context.Context) (err error) {
	var names []string
	defer func() { err = errors.Join(err, v.forget(context.WithoutCancel(ctx), names...)) }()
	for _, img := range []*verbImage{v.tree, v.full, v.ten, v.first} {
		if _, err := quiet(ctx, v.tools["veneer"].command("load", img.archive())...); err != nil {
			return err
		}
		names = append(names, img.name)
	}
	for i := range v.rounds {
		if err := v.push(ctx); err != nil {
			return err
		}
		for _, s := range []struct {
			title  string
			rows   []verbRow
			inputs []string
		}{
			{verbTitle("save", v.tree), v.saves(v.tree), []string{v.blobDir(), v.tree.dir}},
			{verbTitle("squash", v.ten), v.squashes(i), []string{v.blobDir(), v.registry.Storage()}},
			{verbTitle("delta", v.full), v.deltas(), []string{v.blobDir()}},
			{verbTitle("verify", v.tree), v.verifies(v.tree), []string{v.blobDir(), v.snapshotDir(), v.registry.Storage()}},
		} {
			if err := v.run(ctx, s.title, s.rows, s.inputs...); err != nil {
				return err
			}
		}
	}
	return nil
}

// push measures what sends an image, each time to a registry that holds nothing: in an empty repository of one that has the
// blobs in another, some tools would have them mounted from there.
func (v *verbWork) push(ctx context.Context) error {
	for i := range pushes(v.tree, "") {
		if err := v.pushWith(ctx, v.tree, i); err != nil {
			return err
		}
	}
	return nil
}

// pushWith measures one of the pushes.
func (v *verbWork) pushWith(ctx context.Context, img *verbImage, which int) (err error) {
	registry, err := harness.StartRegistry(ctx, harness.RegistryOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Stop()) }()
	ref := img.in(registry)
	row := pushes(img, ref)[which]
	record, err := v.client.ImageService().Get(ctx, img.name)
	if err != nil {
		return err
	}
	if _, err := v.client.ImageService().Create(ctx, images.Image{Name: ref, Target: record.Target}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.forget(context.WithoutCancel(ctx), ref)) }()
	row.after = func(context.Context) (int64, error) {
		files, err := listFiles(registry.Storage())
		return total(files), err
	}
	return v.run(ctx, verbTitle("push", img), []verbRow{row}, img.dir, v.blobDir())
}

// run measures commands in turn, as far as their tools are at hand. Before each, what Veneer remembers is removed, the
// daemon collects its garbage, and the directories that are read are read once.
func (v *verbWork) run(ctx context.Context, title string, rows []verbRow, inputs ...string) error {
	for _, r := range rows {
		tool, ok := v.tools[r.tool]
		if !ok {
			continue
		}
		if err := errors.Join(os.RemoveAll(v.path(verbRoot)), v.collect(ctx)); err != nil {
			return err
		}
		if err := warm(ctx, inputs...); err != nil {
			return err
		}
		c := command{args: tool.command(r.args...)}
		if tool.daemon {
			c.daemons = []int{v.pid}
		}
		s, err := measure(ctx, c)
		if err != nil {
			return err
		}
		if r.after != nil {
			if s.layer, err = r.after(ctx); err != nil {
				return fmt.Errorf("%s: %w", r.label, err)
			}
		}
		v.add(title, r.label, s)
	}
	return nil
}

// brought returns what an image takes that was brought here, removes it, and sees that the next one finds nothing of it.
func (v *verbWork) brought(ctx context.Context, name string) (int64, error) {
	bytes, err := v.stored(ctx, name)
	if err != nil {
		return 0, err
	}
	m, err := v.manifest(ctx, name)
	if err != nil {
		return 0, err
	}
	img, err := v.imageConfig(ctx, m)
	if err != nil {
		return 0, err
	}
	if err := v.forget(ctx, name); err != nil {
		return 0, err
	}
	for i, l := range m.Layers {
		chain := identity.ChainID(img.RootFS.DiffIDs[:i+1])
		_, blob := v.client.ContentStore().Info(ctx, l.Digest)
		_, snapshot := v.client.SnapshotService(snapshotter).Stat(ctx, chain.String())
		if !errdefs.IsNotFound(blob) || !errdefs.IsNotFound(snapshot) {
			return 0, fmt.Errorf("of %s, which was removed, there may still be layer %s (%v) or snapshot %s (%v)", name, l.Digest, blob, chain, snapshot) //nolint:errorlint // nil is the bad case
		}
	}
	return bytes, nil
}

// stored is what an image takes in containerd: its blobs, and the files of its snapshots. That one of them is not there is
// an error.
func (w *world) stored(ctx context.Context, name string) (bytes int64, err error) {
	m, err := w.manifest(ctx, name)
	if err != nil {
		return 0, err
	}
	img, err := w.imageConfig(ctx, m)
	if err != nil {
		return 0, err
	}
	for _, desc := range append(m.Layers, m.Config) {
		info, err := w.client.ContentStore().Info(ctx, desc.Digest)
		if err != nil {
			return 0, err
		}
		bytes += info.Size
	}
	sn := w.client.SnapshotService(snapshotter)
	for i := range img.RootFS.DiffIDs {
		usage, err := sn.Usage(ctx, identity.ChainID(img.RootFS.DiffIDs[:i+1]).String())
		if err != nil {
			return 0, err
		}
		bytes += usage.Size
	}
	return bytes, nil
}
