package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxJSON bounds manifests and configs, which are read whole.
const maxJSON = 8 << 20

// labelSnapshotRef prefixes the config's label that keeps an image's snapshot.
const labelSnapshotRef = "containerd.io/gc.ref.snapshot."

// Unpack makes sure that the snapshot of an image is there, and that the image
// and the lease in ctx keep it. It reports whether it had to make any. The
// manifest is that of one platform. Only layers whose snapshots are missing
// have to be in the content store; those that are there have the content of
// their diff IDs when the error is nil.
func Unpack(ctx context.Context, c *client.Client, manifest ocispec.Descriptor, snapshotter string) (did bool, err error) {
	sn, err := service(c, snapshotter)
	if err != nil {
		return false, err
	}
	ctx, release, err := lease(ctx, c)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, release()) }()

	layers, config, err := readLayers(ctx, c.ContentStore(), manifest)
	if err != nil {
		return false, fmt.Errorf("unpack image %s: %w", manifest.Digest, err)
	}
	if len(layers) == 0 {
		return false, nil
	}
	top := layers[len(layers)-1].ChainID
	// First the lease, then the look: what is there then stays there.
	if err := Hold(ctx, c, snapshotter, top); err != nil {
		return false, err
	}
	missing, err := firstMissing(ctx, sn, layers)
	if err != nil {
		return false, err
	}
	for _, l := range layers[:missing] {
		if err := checkBlob(ctx, c, l); err != nil {
			return false, unpackError(manifest, l, err)
		}
	}
	for _, l := range layers[missing:] {
		if err := Apply(ctx, c, snapshotter, l); err != nil {
			return did, unpackError(manifest, l, err)
		}
		did = true
	}
	return did, label(ctx, c, config.Digest, labelSnapshotRef+snapshotter, top.String())
}

func unpackError(manifest ocispec.Descriptor, l Layer, err error) error {
	err = fmt.Errorf("unpack image %s: %w", manifest.Digest, err)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w; neither the snapshot nor the blob of layer %s is here, so pull or load the image again", err, l.Blob.Digest)
	}
	return err
}

// Hold adds a chain's snapshot to the lease in ctx, whether it exists or not:
// what is there when it is looked for after that stays there. Without a lease
// it does nothing.
func Hold(ctx context.Context, c *client.Client, snapshotter string, chainID digest.Digest) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return nil
	}
	r := leases.Resource{ID: chainID.String(), Type: "snapshots/" + snapshotter}
	if err := c.LeasesService().AddResource(ctx, leases.Lease{ID: id}, r); err != nil {
		return fmt.Errorf("add snapshot %s to lease: %w", chainID, err)
	}
	return nil
}

// firstMissing returns the index of the lowest layer above all those whose
// snapshots exist. A snapshot's parents exist with it.
func firstMissing(ctx context.Context, sn snapshots.Snapshotter, layers []Layer) (int, error) {
	for n := len(layers); n > 0; n-- {
		ok, err := Exists(ctx, sn, layers[n-1].ChainID.String())
		if ok || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// label sets one label of a blob, unless it has it: writing costs a sync.
func label(ctx context.Context, c *client.Client, blob digest.Digest, key, value string) error {
	cs := c.ContentStore()
	info, err := cs.Info(ctx, blob)
	if err != nil {
		return fmt.Errorf("look up blob %s: %w", blob, err)
	}
	if info.Labels[key] == value {
		return nil
	}
	update := cstore.Info{Digest: blob, Labels: map[string]string{key: value}}
	if _, err := cs.Update(ctx, update, "labels."+key); err != nil {
		return fmt.Errorf("label blob %s: %w", blob, err)
	}
	return nil
}

// readLayers reads the layers of a manifest, bottom first, and its config's descriptor.
func readLayers(ctx context.Context, cs cstore.Provider, desc ocispec.Descriptor) ([]Layer, ocispec.Descriptor, error) {
	var m ocispec.Manifest
	if err := readJSON(ctx, cs, desc, &m); err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("read manifest: %w", err)
	}
	var config struct {
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := readJSON(ctx, cs, m.Config, &config); err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("read config: %w", err)
	}
	var layers []Layer
	for _, blob := range m.Layers {
		// Artifacts of other types lie among an image's layers, too.
		if images.IsLayerType(blob.MediaType) {
			layers = append(layers, Layer{Blob: blob})
		}
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return nil, ocispec.Descriptor{}, fmt.Errorf("the manifest has %d layers, but the config %d diff IDs", len(layers), len(config.RootFS.DiffIDs))
	}
	var parent digest.Digest
	for i := range layers {
		l := &layers[i]
		l.Parent, l.DiffID = parent, config.RootFS.DiffIDs[i]
		if err := l.DiffID.Validate(); err != nil {
			return nil, ocispec.Descriptor{}, fmt.Errorf("read diff ID %q of config: %w", l.DiffID, err)
		}
		l.ChainID = ChainID(parent, l.DiffID)
		parent = l.ChainID
	}
	return layers, m.Config, nil
}

func readJSON(ctx context.Context, cs cstore.Provider, desc ocispec.Descriptor, v any) error {
	if desc.Size > maxJSON {
		return fmt.Errorf("%s is %d bytes, more than %d", desc.Digest, desc.Size, maxJSON)
	}
	b, err := cstore.ReadBlob(ctx, cs, desc)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("parse %s: %w", desc.Digest, err)
	}
	return nil
}
