package build

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// LayerOptions say how a layer is written. The zero value is none: Compression
// is required.
type LayerOptions struct {
	Compression layer.Compression
	// Level is the compression's; 0 is its default.
	Level int
	// Epoch, when set, is the upper bound of all times in the layer
	// (SOURCE_DATE_EPOCH). Where the result has to show what another image does,
	// they are that one's.
	Epoch *time.Time
	// Service has containerd's diff service make the layer, from a snapshot.
	Service bool
	// Snapshot: one is wanted, so it is filled while the layer is written where
	// that can be done.
	Snapshot bool
}

// Layer is one that was written into the content store.
type Layer struct {
	// Desc is the blob's, with the media type of the base's family.
	Desc   ocispec.Descriptor
	DiffID digest.Digest
	// UncompressedSize is the tar's in bytes; 0: not known.
	UncompressedSize int64

	index func(io.Writer) error // nil: there is none
	fill  *snapshot.Fill        // the snapshot that is being made of it, or nil
	made  bool                  // it was made from its snapshot
}

// Layer writes the difference as one layer, and closes it at once: a container
// that was paused for it goes on. Nil: nothing differs.
func (s *Session) Layer(ctx context.Context, d *Diff, o LayerOptions) (*Layer, error) {
	s.Steps.Start("layer")
	if d.Empty() {
		return nil, d.Close()
	}
	s.settle(d)
	s.memory.releaseListings()
	write := s.writeLayer
	if o.Service {
		write = s.serviceLayer
	}
	l, err := write(ctx, d, o)
	return l, errors.Join(err, d.Close())
}

// settle is for when all rules are applied.
func (s *Session) settle(d *Diff) {
	d.changes.Expect()
	s.Warnings.Add(d.changes.Warnings()...)
}

func (s *Session) writeLayer(ctx context.Context, d *Diff, o LayerOptions) (_ *Layer, err error) {
	mediaType, err := content.LayerMediaType(d.Base.Docker, string(o.Compression))
	if err != nil {
		return nil, err
	}
	w, err := content.NewLayerWriter(ctx, s.Engine.Client.ContentStore())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	opts := d.options(s, o)
	opts.Drain = true
	l := &Layer{}
	if o.Snapshot {
		if l.fill, err = s.startFill(ctx, d.Base); err != nil {
			return nil, err
		}
	}
	if l.fill != nil {
		// Whoever can write to the snapshot reads the next base there: if ever
		// an index is needed, the layer is scanned for it.
		opts.Tar, opts.NoIndex = l.fill, true
	}
	blob, err := layer.Write(ctx, w, d.changes, opts)
	if err != nil {
		return nil, err
	}
	if l.fill != nil {
		l.fill.End()
	}
	if blob.Index != nil {
		l.index = blob.Index.Encode
	}
	l.DiffID, l.UncompressedSize = rootfs.Digest(blob.DiffID), blob.UncompressedSize
	l.Desc = ocispec.Descriptor{MediaType: mediaType, Digest: rootfs.Digest(blob.Digest), Size: blob.Size}
	return l, w.Commit(ctx, l.Desc.Size, l.Desc.Digest, content.LayerLabels(l.DiffID))
}

func (d *Diff) options(s *Session, o LayerOptions) layer.Options {
	opts := layer.Options{Compression: o.Compression, Level: o.Level, Epoch: o.Epoch, Count: s.Steps.Count}
	if d.exact {
		opts.Epoch = nil
	}
	return opts
}

// Measure makes the layer to nowhere, to learn its size, and closes the
// difference. fn is told of each change before, in the order in which a layer
// holds them, and of what the base's files lose by it; a [differ.Change] is its
// own only until it returns.
func (s *Session) Measure(ctx context.Context, d *Diff, o LayerOptions, fn func(*differ.Change, differ.Tally)) (size, uncompressed int64, err error) {
	defer func() { err = errors.Join(err, d.Close()) }()
	if d.changes == nil {
		return 0, 0, nil
	}
	s.settle(d)
	if d.Empty() {
		return 0, 0, nil
	}
	s.Steps.Start("layer")
	err = d.changes.Each(func(ch *differ.Change) error {
		gone, err := d.changes.Removed(ctx, ch)
		if err == nil {
			fn(ch, gone)
		}
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	blob, err := layer.Write(ctx, io.Discard, d.changes, d.options(s, o))
	if err != nil {
		return 0, 0, err
	}
	return blob.Size, blob.UncompressedSize, nil
}
