package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/words"
)

// maxPacked bounds what the sizes in manifests may add up to. It only keeps the sums
// below from overflowing.
const maxPacked = 1 << 50

// rebuilder makes the layers of one delta's image.
type rebuilder struct {
	*loader
	delta *delta.Delta
	// layers are the image's, as they are here.
	layers []ocispec.Descriptor
	other  bool // one of them is another blob than the image's
	// unmade is why a blob could not be made: of that layer there is the tar alone.
	unmade error
	// unstored is the number of bytes of tars that were unpacked only, see
	// [rebuilder.unpacksOnly]. storing: that was tried, in vain.
	unstored int64
	storing  bool
	// room is how many bytes of tars may still be made: maxRatio times of what the source
	// images and the deltas have, compressed. Without a limit a small delta could fill
	// the disk with copies of one file.
	room      int64
	unpacking unpacking
	// olds are the source images, and files those of them, as long as they are open.
	olds  []*content.Image
	files Files
}

// reused checks that the layers that the delta does not have are here.
func (r *rebuilder) reused(ctx context.Context) error {
	var needs []neededLayer
	for i, layer := range r.delta.Layers {
		if layer.Kind == delta.Reused {
			needs = append(needs, neededLayer{layer.Target.Digest, layer.Target.Size, identity.ChainID(r.delta.Image.DiffIDs[:i+1])})
		}
	}
	lacks, _, err := r.lacking(ctx, needs)
	if err != nil || len(lacks) == 0 {
		return err
	}
	return r.needs(ctx, fmt.Errorf("%s %s not here (%s)", words.Some(len(lacks), "layer"), words.Pick(len(lacks), "is", "are"), layerList(lacks)))
}

// makeLayers makes those layers that are not here. Where it is enough to unpack them, they
// are not stored, see [rebuilder.unpacksOnly].
func (r *rebuilder) makeLayers(ctx context.Context) (err error) {
	defer func() {
		r.unpacking.stop()
		err = errors.Join(err, r.closeOld())
	}()
	if err := r.makeEach(ctx); err != nil || r.unstored == 0 {
		return err
	}
	switch there, err := r.opts.Snapshots.Has(ctx, r.delta.Image.ChainID); {
	case err != nil:
		return fmt.Errorf("look for the snapshot that was made of the delta: %w", err)
	case there:
		return nil
	}
	r.unpacking.stop()
	r.unpacking, r.storing = unpacking{}, true
	r.room, r.unstored = r.room+r.unstored, 0
	return r.makeEach(ctx)
}

// makeEach makes the layers that are not here, in their order.
func (r *rebuilder) makeEach(ctx context.Context) error {
	made := map[digest.Digest]ocispec.Descriptor{}
	for i, layer := range r.delta.Layers {
		if layer.Kind == delta.Reused {
			continue
		}
		// First held, then looked for: see [lease.AddBlob].
		if err := r.keep(ctx, layer.Target.Digest); err != nil {
			return err
		}
		if info, err := r.store.Info(ctx, layer.Target.Digest); err == nil && info.Size == layer.Target.Size {
			r.unpacking.skip(layer.Target.Digest)
			continue // It was here, or the archive had it whole.
		} else if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("look for layer %s: %w", layer.Target.Digest, err)
		}
		if layer.Kind == delta.Whole && layer.Blob.Digest == layer.Target.Digest {
			return fmt.Errorf("the archive lacks layer %s: %w", layer.Target.Digest, errdefs.ErrNotFound)
		}
		done, seen := made[layer.Target.Digest]
		if !seen {
			var err error
			if done, err = r.layerOrTar(ctx, layer); err != nil {
				return err
			}
			made[layer.Target.Digest] = done
		}
		r.layers[i] = done
		r.other = r.other || r.unmade == nil && done.Digest != layer.Target.Digest
	}
	r.unpacking.wait(ctx)
	return nil
}

// layer makes one layer. anyhow: its blob may be another one.
func (r *rebuilder) layer(ctx context.Context, layer delta.Layer, anyhow bool) (ocispec.Descriptor, error) {
	most := ratioSlack + maxRatio*min(layer.Blob.Size, maxPacked)
	if layer.Kind == delta.Diff {
		if err := r.openOld(ctx); err != nil {
			return ocispec.Descriptor{}, err
		}
		r.beginUnpacking(ctx)
		most = r.room
	}
	if layer.Size >= 0 {
		most = min(most, layer.Size)
	}
	count := r.opts.Sources.Rebuilds(layer.Target, max(layer.Size, 0))
	made, err := r.rebuildOne(ctx, delta.Target{
		Layer: layer.Target, DiffID: layer.DiffID, Blob: layer.Blob, Writer: layer.Generation, Most: most, Anyhow: anyhow,
		Count: count, Tar: r.unpacking.writer(ctx, layer.Target.Digest),
	})
	r.unpacking.made(layer.Target, made.Layer, err)
	switch {
	case err == nil:
		r.room -= made.Tar
		return made.Layer, nil
	case ctx.Err() != nil:
		return ocispec.Descriptor{}, err
	case errors.Is(err, delta.ErrCompression):
		return ocispec.Descriptor{}, &fault.Error{Kind: ErrNotRebuilt, Ref: layer.Target.Digest.String(), Err: fmt.Errorf("make layer %s of its delta: %w", layer.Target.Digest, err)}
	case layer.Kind == delta.Diff && (errors.Is(err, delta.ErrTar) || errors.As(err, new(*tardiff.SourceError))):
		err = r.blame(ctx, err)
	}
	return ocispec.Descriptor{}, fmt.Errorf("make layer %s of its delta: %w", layer.Target.Digest, err)
}

// rebuildOne makes a layer, and stores it unless it is enough to unpack it.
func (r *rebuilder) rebuildOne(ctx context.Context, t delta.Target) (delta.Rebuilt, error) {
	if !r.unpacksOnly() {
		return delta.Rebuild(ctx, r.store, t, r.files)
	}
	size, err := delta.MakeTar(ctx, r.store, t, r.files)
	r.unstored += size
	return delta.Rebuilt{Layer: t.Layer, Tar: size}, err
}

// maxBlamed is how many files an error names.
const maxBlamed = 3

// blame finds out which files of the old images are not those that the delta was made
// from. The error names them. If there is no list of these, or all are right, it says
// so.
func (r *rebuilder) blame(ctx context.Context, cause error) error {
	list := r.delta.Files
	if list.Digest == "" {
		return r.damaged("", fmt.Errorf("%w; the delta has no list of the files that it reads, so it is not known whether one of %s was changed, or the delta is wrong", cause, r.names()))
	}
	blob, err := content.ReadBlob(ctx, r.store, list)
	if err != nil {
		return fmt.Errorf("%w (and %w)", cause, err)
	}
	defer blob.Close() // only read
	bad, err := delta.Changed(ctx, blob, r.files, len(r.olds), maxBlamed)
	if err != nil {
		return fmt.Errorf("%w (and %w)", cause, err)
	}
	if len(bad) == 0 {
		return fmt.Errorf("%w; the files of %s that it reads are those that it was made from: the delta is wrong, or one of them was changed while it was read", cause, r.names())
	}
	text := ""
	for _, b := range bad {
		text += fmt.Sprintf("; %q %s", b.Path, b.Why)
	}
	if len(bad) == maxBlamed {
		text += "; there may be more"
	}
	return r.damaged(bad[0].Path, fmt.Errorf("%w; files of %s are not those that the delta was made from%s", cause, r.names(), text))
}

func (r *rebuilder) damaged(path string, err error) error {
	return &fault.Error{Kind: ErrSourceDiffers, Ref: nameOf(r.olds[0]), Path: path, Err: err}
}

// openOld opens the source images, once.
func (r *rebuilder) openOld(ctx context.Context) error {
	if r.files != nil {
		return nil
	}
	var packed int64
	add := func(size int64) { packed = min(packed+min(size, maxPacked), maxPacked) }
	for _, s := range r.delta.Sources {
		img, err := r.find(ctx, s)
		if err != nil {
			return err
		}
		for _, l := range img.Layers {
			add(l.Size)
		}
		r.olds = append(r.olds, img)
	}
	for _, layer := range r.delta.Layers {
		add(layer.Blob.Size)
	}
	r.room = ratioSlack + maxRatio*packed
	files, err := r.opts.Sources.Files(ctx, r.olds)
	if err != nil {
		return err
	}
	r.files = files
	return nil
}

func (r *rebuilder) closeOld() error {
	if r.files == nil {
		return nil
	}
	return r.files.Close()
}
