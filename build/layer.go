package build

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// LayerOptions say how a layer is written. Compression is required.
type LayerOptions struct {
	Compression layer.Compression
	// Level is the compression's; 0 is its default.
	Level int
	// Epoch is the latest time in the layer (SOURCE_DATE_EPOCH). It is ignored if the
	// result must show exactly another image's files, times included. nil: no limit.
	Epoch *time.Time
	// Service: containerd's diff service makes the layer, from a snapshot.
	Service bool
	// Snapshot: a snapshot is wanted. If possible, it is filled while the layer is
	// written.
	Snapshot bool
}

// Layer is a layer that was written into the content store.
type Layer struct {
	// Desc is the blob's descriptor. Its media type is of the base's family.
	Desc   ocispec.Descriptor
	DiffID digest.Digest
	// UncompressedSize is the size of the tar in bytes; 0: not known.
	UncompressedSize int64

	index func(io.Writer) error // writes the layer's index; nil: none was made
	fill  *snapshot.Fill        // the snapshot that is being filled, or nil
	made  bool                  // the layer was made from its snapshot
}

// Layer writes the difference as one layer, and closes the difference at once, so
// that a paused container is resumed. If nothing differs, it returns nil.
func (s *Session) Layer(ctx context.Context, d *Diff, o LayerOptions) (*Layer, error) {
	s.Steps.Start("layer")
	if d.Empty() {
		return nil, d.Close()
	}
	s.settle(d)
	s.fileCaches.releaseListings()
	if l, err := s.writtenBefore(ctx, d, o); l != nil || err != nil {
		return l, errors.Join(err, d.Close())
	}
	write := s.writeLayer
	if o.Service {
		write = s.serviceLayer
	}
	l, err := write(ctx, d, o)
	return l, errors.Join(err, d.Close())
}

// settle is called when all rules are applied and nothing more will change.
func (s *Session) settle(d *Diff) {
	d.changes.Expect()
	s.Warnings.Add(d.changes.Warnings()...)
}

// NewLayerWriter opens a writer for a layer of an image that the session makes; see
// [content.NewLayerWriter].
func (s *Session) NewLayerWriter(ctx context.Context) (*content.LayerWriter, error) {
	return content.NewLayerWriter(ctx, s.Engine.Client.ContentStore(), s.names...)
}

func (s *Session) writeLayer(ctx context.Context, d *Diff, o LayerOptions) (_ *Layer, err error) {
	mediaType, err := content.LayerMediaType(d.Base.Docker, string(o.Compression))
	if err != nil {
		return nil, err
	}
	w, err := s.NewLayerWriter(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	opts := d.options(s, o)
	opts.Drain, opts.Keyed = s.following == nil, s.keyed(o)
	l := &Layer{}
	if o.Snapshot {
		if l.fill, err = s.startFill(ctx, d.Base); err != nil {
			return nil, err
		}
	}
	if l.fill != nil {
		// Whoever can write to the snapshot also reads the next base there. If an index
		// is needed one day, it is made from the layer.
		opts.Tar, opts.NoIndex = l.fill, true
	}
	d.total(s)
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
	if err := w.Commit(ctx, l.Desc.Size, l.Desc.Digest, content.WrittenLabels(l.DiffID, blob.Writer)); err != nil {
		return nil, err
	}
	if opts.Keyed {
		s.rememberLayer(ctx, blob.Key, l)
	}
	return l, nil
}

func (d *Diff) options(s *Session, o LayerOptions) layer.Options {
	opts := layer.Options{Compression: o.Compression, Level: o.Level, Epoch: o.Epoch, Count: s.Steps.Count}
	if d.exact {
		opts.Epoch = nil
	}
	return opts
}

// total tells how many entries and bytes of content the layer is going to have.
func (d *Diff) total(s *Session) {
	s.Steps.Total(func() (files, bytes int64) {
		_ = d.changes.Each(func(ch *differ.Change) error { // Fails only if the function does.
			files++
			if ch.Entry.Type() == unix.S_IFREG {
				bytes += ch.Bytes()
			}
			return nil
		})
		return files, bytes
	})
}

// Measure makes the layer to learn its size, throws it away, and closes the
// difference. Before that it calls fn for each change, in the order of the layer,
// with what the change removes from the base. fn must not keep the
// [differ.Change].
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
	d.total(s)
	blob, err := layer.Write(ctx, io.Discard, d.changes, d.options(s, o))
	if err != nil {
		return 0, 0, err
	}
	return blob.Size, blob.UncompressedSize, nil
}
