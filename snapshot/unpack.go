package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/internal/progress"
)

// Host tells what a process may do with an engine's snapshots. Package engine's Engine is
// one.
type Host interface {
	// Fills returns nil if this process may unpack layers into a directory of a
	// snapshot, which must be the same directory here as in the engine.
	Fills(ctx context.Context, dir string) error
	// Rebases reports whether the engine's snapshotter can be told a snapshot's parent
	// when the snapshot is committed.
	Rebases(ctx context.Context) bool
}

// Unpacker makes the snapshots of images.
type Unpacker struct {
	Client      *client.Client
	Snapshotter string
	// Host lets this process unpack. nil: the diff service does.
	Host Host
	// Blobs opens layers that need not be stored yet. There is io.EOF only when the
	// layer is stored, with the bytes that were read. It is for a Host; what this
	// process cannot unpack is then an error that wraps [ErrNoLayers]. nil: all layers
	// are in the content store.
	Blobs func(context.Context, ocispec.Descriptor) io.ReadCloser
	// Tars opens the tars of layers that are made now, by their blobs: of all that are to
	// be unpacked at once. There is io.EOF only when the layer is made, and what was
	// read is its tar. Those that it does not return are in the content store. It is for
	// a Host, like Blobs.
	Tars func(layers []ocispec.Descriptor) map[digest.Digest]io.ReadCloser
	// Steps are told of each layer that gets a snapshot, and of its stored bytes.
	Steps *progress.Steps

	tars map[digest.Digest]io.ReadCloser // what Tars returned
}

// Unpack makes sure that the snapshot of an image exists, and that the image and the
// lease in ctx keep it. It reports whether it made any snapshot. Layers must be in the
// content store only if their snapshots are missing. A nil error promises that all
// stored layers have the content of their diff IDs.
func (u Unpacker) Unpack(ctx context.Context, img *content.Image) (did bool, err error) {
	c, snapshotter := u.Client, u.Snapshotter
	sn, err := service(c, snapshotter)
	if err != nil {
		return false, err
	}
	ctx, release, err := lease.New(ctx, c.LeasesService())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, release(ctx)) }()

	layers := layersOf(img)
	if len(layers) == 0 {
		return false, nil
	}
	top := layers[len(layers)-1].ChainID
	// Hold it before looking for it. If it exists then, it stays.
	if err := Hold(ctx, c, snapshotter, top); err != nil {
		return false, err
	}
	missing, err := firstMissing(ctx, sn, layers)
	if err != nil {
		return false, err
	}
	for _, l := range layers[:missing] {
		if err := checkBlob(ctx, c, l); err != nil {
			return false, unpackError(img, l, err)
		}
	}
	if missing == len(layers) {
		return false, content.KeepSnapshot(ctx, c.ContentStore(), img, snapshotter)
	}
	layers = layers[missing:]
	if u.Tars != nil {
		tars := u.Tars(img.Layers[missing:])
		defer func() {
			for _, tar := range tars {
				tar.Close()
			}
		}()
		u.tars = tars
	}
	u.Steps.Total(func() (files, bytes int64) {
		for _, l := range layers {
			files, bytes = files+1, bytes+l.Blob.Size
		}
		return files, bytes
	})
	for len(layers) > 0 {
		n, err := u.some(ctx, sn, layers)
		did = did || n > 0
		if err != nil {
			return did, unpackError(img, layers[min(n, len(layers)-1)], err)
		}
		layers = layers[n:]
	}
	return did, content.KeepSnapshot(ctx, c.ContentStore(), img, snapshotter)
}

// some makes the snapshots of the lowest layers, and returns of how many.
func (u Unpacker) some(ctx context.Context, sn snapshots.Snapshotter, layers []Layer) (int, error) {
	if u.Host != nil {
		n, err := u.fill(ctx, sn, layers)
		if n > 0 || err != nil {
			return n, err
		}
	}
	if u.Blobs != nil || u.Tars != nil {
		return 0, ErrNoLayers
	}
	if err := Apply(ctx, u.Client, u.Snapshotter, layers[0]); err != nil {
		return 0, err
	}
	u.Steps.Count(1, layers[0].Blob.Size)
	return 1, nil
}

func unpackError(img *content.Image, l Layer, err error) error {
	err = fmt.Errorf("unpack image %s: %w", img.Manifest.Digest, err)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w; neither the snapshot nor the blob of layer %s is here, so pull or load the image again", err, l.Blob.Digest)
	}
	return err
}

// Hold adds a chain's snapshot to the lease in ctx. The snapshot need not exist. If it
// is found afterwards, it stays. Without a lease, Hold does nothing.
func Hold(ctx context.Context, c *client.Client, snapshotter string, chainID digest.Digest) error {
	if err := lease.AddSnapshot(ctx, c.LeasesService(), snapshotter, chainID.String()); err != nil {
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

// layersOf returns an image's layers, bottom first.
func layersOf(img *content.Image) []Layer {
	layers := make([]Layer, len(img.Layers))
	var parent digest.Digest
	for i, blob := range img.Layers {
		layers[i] = Layer{Parent: parent, ChainID: ChainID(parent, img.DiffIDs[i]), DiffID: img.DiffIDs[i], Blob: blob}
		parent = layers[i].ChainID
	}
	return layers
}
