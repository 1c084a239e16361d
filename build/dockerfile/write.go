package dockerfile

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// write makes a snapshot of the changes to a state, and stores the layer if that is
// wanted. Both are made from the same bytes.
func (s *solver) write(ctx context.Context, changes *differ.Changes, on *state, layered bool) (_ *graph.Made, err error) {
	if changes.Empty() {
		return &graph.Made{Snapshot: on.snapshot, ID: on.id, Layered: on.layered && layered}, nil
	}
	sum := changes.Summary()
	changes.Expect()
	fill, err := s.fill(ctx, on)
	if err != nil {
		return nil, err
	}
	if fill != nil {
		defer func() {
			err = errors.Join(err, fill.Close(ctx))
			if fill.Spare() {
				s.spare()
			}
		}()
	}
	l, err := s.writeLayer(ctx, changes, on, fill, layered || fill == nil)
	if err != nil {
		return nil, err
	}
	m := &graph.Made{Snapshot: chain(on.snapshot, l.DiffID), Layered: on.layered && layered, Bytes: sum.Added.Bytes + sum.Modified.Bytes}
	m.ID = m.Snapshot
	if m.Layered {
		m.Layer = l
	}
	if fill != nil {
		return m, fill.Commit(ctx, digest.Digest(m.Snapshot))
	}
	return m, snapshot.Apply(ctx, s.client(), s.engine().Snapshotter, snapshot.Layer{
		Parent: digest.Digest(on.snapshot), ChainID: digest.Digest(m.Snapshot), DiffID: l.DiffID, Blob: l.Desc,
	})
}

// fill begins a snapshot that is filled while the layer is written. It returns nil
// if that is not possible. Then the layer is applied afterwards.
func (s *solver) fill(ctx context.Context, on *state) (*snapshot.Fill, error) {
	fill, err := snapshot.NewFill(ctx, s.client(), s.engine().Snapshotter, digest.Digest(on.snapshot), func(dir string) error {
		return s.engine().Fills(ctx, dir)
	})
	if errors.Is(err, snapshot.ErrNoLayers) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.keepDirTimes(ctx, fill.Dir(), on); err != nil {
		return nil, errors.Join(err, fill.Close(ctx))
	}
	return fill, nil
}

// writeLayer writes the layer into the snapshot, and stores it if asked to.
func (s *solver) writeLayer(ctx context.Context, changes *differ.Changes, on *state, fill *snapshot.Fill, stored bool) (_ *graph.Layer, err error) {
	o := layer.Options{Compression: layer.None, Epoch: s.Layers.Epoch, NoIndex: true, Drain: true, Count: s.session.Steps.Count}
	if fill != nil {
		o.Tar = fill
	}
	if !stored {
		blob, err := layer.Write(ctx, io.Discard, changes, o)
		if err != nil {
			return nil, err
		}
		fill.End()
		return &graph.Layer{DiffID: rootfs.Digest(blob.DiffID)}, nil
	}
	o.Compression, o.Level = s.Layers.Compression, s.Layers.Level
	mediaType, err := content.LayerMediaType(on.docker, string(o.Compression))
	if err != nil {
		return nil, err
	}
	w, err := s.session.NewLayerWriter(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	blob, err := layer.Write(ctx, w, changes, o)
	if err != nil {
		return nil, err
	}
	if fill != nil {
		fill.End()
	}
	l := &graph.Layer{
		Desc:   ocispec.Descriptor{MediaType: mediaType, Digest: rootfs.Digest(blob.Digest), Size: blob.Size},
		DiffID: rootfs.Digest(blob.DiffID),
	}
	return l, w.Commit(ctx, l.Desc.Size, l.Desc.Digest, content.WrittenLabels(l.DiffID, blob.Writer))
}

// spare notes that a snapshot was made which exists already.
func (s *solver) spare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session.Spare()
}
