package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/client"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	rowCommit       = "containerd's diff service, as `nerdctl commit` uses it; changes already in the container"
	rowVeneerCommit = "**veneer commit**; changes already in the container"
	// commitCommand makes this program commit a snapshot, in a process of its own that can be measured.
	commitCommand = "commit-snapshot"
)

// commitTool does what nerdctl commit does, which is not to be had as a module: an active snapshot that has the
// changes already is compared by the daemon's diff service; the layer is applied to a new snapshot, and recorded.
type commitTool struct{}

func (t *commitTool) name() string { return "commit" }

func (t *commitTool) start(ctx context.Context, w *world) error {
	if _, err := exec.LookPath("rsync"); err != nil {
		return unavailable("rsync, which changes the container, is not installed (Debian package rsync)")
	}
	return w.ensureBase(ctx)
}

func (t *commitTool) round(ctx context.Context, w *world) error {
	if err := w.trees.refresh(); err != nil {
		return err
	}
	for _, b := range []struct{ title, source string }{{scenarioRebuild, w.trees.v2}, {scenarioSame, ""}} {
		if err := t.measure(ctx, w, b.title, b.source); err != nil {
			return err
		}
	}
	return nil
}

func (t *commitTool) measure(ctx context.Context, w *world, title, source string) (err error) {
	const key = "bench-container"
	m, err := w.manifest(ctx, base1)
	if err != nil {
		return err
	}
	img, err := w.imageConfig(ctx, m)
	if err != nil {
		return err
	}
	sn := w.client.SnapshotService(snapshotter)
	mounts, err := sn.Prepare(ctx, key, identity.ChainID(img.RootFS.DiffIDs).String(),
		// No lease holds it, and nothing refers to it.
		snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "bench"}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sn.Remove(context.WithoutCancel(ctx), key)) }()
	if source != "" {
		err := mount.WithTempMount(ctx, mounts, func(root string) error {
			_, err := quiet(ctx, "rsync", "-a", "--delete", source+"/", filepath.Join(root, "app")+"/")
			return err
		})
		if err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := warm(ctx, w.app); err != nil {
		return err
	}
	s, err := measure(ctx, command{args: []string{self, commitCommand, w.daemon.Address(), key, tag2}, daemons: []int{w.pid}})
	if err != nil {
		return err
	}
	if s.layer, err = w.topLayer(ctx, namespace, tag2); err != nil {
		return err
	}
	if source == "" {
		s.layer = 0
	}
	w.add(title, rowCommit, s)
	if err := w.forget(ctx, tag2); err != nil {
		return err
	}
	return t.measureVeneer(ctx, w, title, key)
}

// measureVeneer commits the same snapshot as that of a container, which is not running: what a pause takes is the
// runtime's.
func (t *commitTool) measureVeneer(ctx context.Context, w *world, title, key string) (err error) {
	c, err := w.client.NewContainer(ctx, key, client.WithSnapshotter(snapshotter), client.WithSnapshot(key),
		client.WithImageName(base1), client.WithNewSpec())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Delete(context.WithoutCancel(ctx))) }()
	if err := warm(ctx, w.app); err != nil {
		return err
	}
	s, err := measure(ctx, command{args: []string{
		w.program, "commit", "--engine", "containerd", "--address", w.daemon.Address(), "--namespace", namespace,
		"--root", w.path(warmRoot), "--progress", "quiet", key, tag2,
	}, daemons: []int{w.pid}})
	if err != nil {
		return err
	}
	if s.layer, err = w.topLayer(ctx, namespace, tag2); err != nil {
		return err
	}
	if title == scenarioSame {
		s.layer = 0
	}
	w.add(title, rowVeneerCommit, s)
	return w.forget(ctx, tag2)
}

func (t *commitTool) stop(*world) error { return nil }

// runCommit is the measured process: it makes an image of an active snapshot on base1.
func runCommit(ctx context.Context, args []string) (err error) {
	if len(args) != 3 {
		return fmt.Errorf("usage: %s SOCKET SNAPSHOT IMAGE", commitCommand)
	}
	c, err := client.New(args[0], client.WithDefaultNamespace(namespace))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	ctx, done, err := c.WithLease(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done(context.WithoutCancel(ctx))) }()

	layer, err := rootfs.CreateDiff(ctx, args[1], c.SnapshotService(snapshotter), c.DiffService())
	if err != nil {
		return err
	}
	info, err := c.ContentStore().Info(ctx, layer.Digest)
	if err != nil {
		return err
	}
	diffID, err := digest.Parse(info.Labels["containerd.io/uncompressed"])
	if err != nil {
		return err
	}
	base, err := c.GetImage(ctx, base1)
	if err != nil {
		return err
	}
	m, err := images.Manifest(ctx, c.ContentStore(), base.Target(), base.Platform())
	if err != nil {
		return err
	}
	config, err := base.Spec(ctx)
	if err != nil {
		return err
	}
	parent := identity.ChainID(config.RootFS.DiffIDs).String()
	now := time.Now()
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
	config.Created = &now
	config.History = append(config.History, ocispec.History{Created: &now})
	if err := applyLayer(ctx, c, layer, parent, identity.ChainID(config.RootFS.DiffIDs).String()); err != nil {
		return err
	}
	m.Layers = append(m.Layers, layer)
	return recordImage(ctx, c, args[2], m, config)
}

// applyLayer makes the committed snapshot of the new image.
func applyLayer(ctx context.Context, c *client.Client, layer ocispec.Descriptor, parent, name string) error {
	sn, key := c.SnapshotService(snapshotter), "bench-apply"
	mounts, err := sn.Prepare(ctx, key, parent)
	if err != nil {
		return err
	}
	if _, err := c.DiffService().Apply(ctx, layer, mounts); err != nil {
		return errors.Join(err, sn.Remove(ctx, key))
	}
	if err := sn.Commit(ctx, name, key); err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	return nil
}

func recordImage(ctx context.Context, c *client.Client, name string, m ocispec.Manifest, config ocispec.Image) error {
	var err error
	if m.Config, err = writeJSON(ctx, c, m.Config.MediaType, config, map[string]string{
		"containerd.io/gc.ref.snapshot." + snapshotter: identity.ChainID(config.RootFS.DiffIDs).String(),
	}); err != nil {
		return err
	}
	labels := map[string]string{"containerd.io/gc.ref.content.config": m.Config.Digest.String()}
	for i, l := range m.Layers {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = l.Digest.String()
	}
	target, err := writeJSON(ctx, c, m.MediaType, m, labels)
	if err != nil {
		return err
	}
	_, err = c.ImageService().Create(ctx, images.Image{Name: name, Target: target})
	return err
}

func writeJSON(ctx context.Context, c *client.Client, mediaType string, value any, labels map[string]string) (ocispec.Descriptor, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return desc, cstore.WriteBlob(ctx, c.ContentStore(), desc.Digest.String(), bytes.NewReader(data), desc, cstore.WithLabels(labels))
}
