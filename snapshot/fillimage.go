package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/internal/ahead"
	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot/unpack"
)

// fill makes the snapshots of the lowest layers in this process, and returns of how
// many. It is 0 without an error if the diff service has to unpack the lowest one.
func (u Unpacker) fill(ctx context.Context, sn snapshots.Snapshotter, layers []Layer) (n int, err error) {
	layers = layers[:countPlain(ctx, layers)]
	if len(layers) == 0 {
		return 0, nil
	}
	first, err := u.open(ctx, sn, layers[0], layers[0].Parent.String())
	if errors.Is(err, ErrNoLayers) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if len(layers) > 1 && u.Host.Rebases(ctx) {
		return u.fillSideBySide(ctx, sn, first, layers)
	}
	for _, l := range layers {
		if n > 0 {
			first, err = u.open(ctx, sn, l, l.Parent.String())
			if errors.Is(err, ErrNoLayers) {
				return n, nil // Some snapshotters give a plain directory for the lowest layer alone.
			}
			if err != nil {
				return n, err
			}
		}
		err := u.alone(ctx, first)
		if err := errors.Join(err, first.close(ctx)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// alone fills and commits the snapshot of one layer.
func (u Unpacker) alone(ctx context.Context, f *layerFill) error {
	src, err := u.openSource(ctx, f.Layer)
	if err != nil {
		return f.fail(err)
	}
	if err := f.unpack(ctx, src); err != nil {
		return f.fail(err)
	}
	if err := f.sync(); err != nil {
		return err
	}
	return f.commit(ctx, u)
}

// countPlain counts the lowest layers that need nothing but containerd's own way of
// unpacking. The diff service may have programs for others.
func countPlain(ctx context.Context, layers []Layer) int {
	n := slices.IndexFunc(layers, func(l Layer) bool {
		_, err := images.DiffCompression(ctx, l.Blob.MediaType)
		_, packed, _ := strings.Cut(l.Blob.MediaType, "+")
		return err != nil || packed != "" && packed != "gzip" && packed != "zstd"
	})
	if n < 0 {
		return len(layers)
	}
	return n
}

// headBuffer is how much of a tar is read at once, at the least: the headers of small
// files with them. Larger reads go past the buffer.
const headBuffer = 32 << 10

// layerFill is an active snapshot of one layer of an image, which this process fills.
type layerFill struct {
	Layer
	active *active
	syncer *syncer
	target target
	// lower is the layer below, if it is being unpacked at the same time.
	lower *layerFill
	done  chan struct{} // is closed when all files are there
	ended time.Time     // when that was; valid after done is closed
}

// complete reports whether all files are there.
func (f *layerFill) complete() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// open makes an active snapshot. The error wraps [ErrNoLayers] if this process cannot
// fill it. The caller closes it.
func (u Unpacker) open(ctx context.Context, sn snapshots.Snapshotter, l Layer, parent string) (_ *layerFill, err error) {
	a, err := prepare(ctx, sn, "fill", parent)
	if err != nil {
		return nil, err
	}
	f := &layerFill{Layer: l, active: a, done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close(ctx))
		}
	}()
	if f.target, err = writable(a.mounts); err != nil {
		return nil, fmt.Errorf("fill snapshot: %w", err)
	}
	if err := errors.Join(u.Host.Fills(ctx, f.target.dir), mayWrite(f.target.dir)); err != nil {
		return nil, fmt.Errorf("fill snapshot: %w: %w", ErrNoLayers, err)
	}
	f.syncer, err = newSyncer(f.target.dir)
	return f, err
}

// close removes the snapshot, unless it was committed.
func (f *layerFill) close(ctx context.Context) error {
	return errors.Join(f.endSyncs(), f.active.remove(ctx))
}

// endSyncs waits for the sync that runs, and begins no more.
func (f *layerFill) endSyncs() error {
	if f.syncer == nil {
		return nil
	}
	err := f.syncer.Close()
	f.syncer = nil
	return err
}

// source is a layer's blob, being read.
type source struct {
	blob *blobReader
	tar  io.ReadCloser
	// large: a stranger may make it take much memory.
	large bool
	// checked: it ends without an error only if it is the layer's tar.
	checked bool
}

func (u Unpacker) openSource(ctx context.Context, l Layer) (*source, error) {
	if tar, made := u.tars[l.Blob.Digest]; made {
		blob := &blobReader{ReadCloser: tar}
		return &source{blob: blob, tar: io.NopCloser(blob), checked: true}, nil
	}
	opened, err := u.openBlob(ctx, l.Blob)
	if err != nil {
		return nil, err
	}
	blob := &blobReader{ReadCloser: opened, steps: u.Steps, left: l.Blob.Size - lastPart(l.Blob.Size)}
	if packed, err := images.DiffCompression(ctx, l.Blob.MediaType); err == nil && packed == "" {
		return &source{blob: blob, tar: io.NopCloser(blob)}, nil
	}
	plain, kind, err := compression.Decompress(blob)
	if err != nil {
		return nil, errors.Join(err, blob.Close())
	}
	return &source{blob: blob, tar: plain, large: kind == "zstd"}, nil
}

func (u Unpacker) openBlob(ctx context.Context, blob ocispec.Descriptor) (io.ReadCloser, error) {
	if u.Blobs != nil {
		return u.Blobs(ctx, blob), nil
	}
	return content.ReadBlob(ctx, u.Client.ContentStore(), blob)
}

// blobReader reads a blob, and counts all that it reads but the last part.
type blobReader struct {
	io.ReadCloser
	steps *progress.Steps
	left  int64       // that counts
	broke atomic.Bool // there was an error of reading
}

// lastPart is how much of a layer counts when its snapshot is committed: until then it is
// not over.
func lastPart(size int64) int64 { return size / 50 }

// Read implements [io.Reader].
func (r *blobReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.broke.Store(true)
	}
	if counts := min(int64(n), r.left); counts > 0 {
		r.left -= counts
		r.steps.Count(0, counts)
	}
	return n, err
}

func (s *source) close() error { return errors.Join(s.tar.Close(), s.blob.Close()) }

// unpack makes the layer's files, checks what it reads, and closes the source. The files
// are not synced.
func (f *layerFill) unpack(ctx context.Context, src *source) error {
	read := f.check
	if src.checked {
		read = f.trust
	}
	err := read(ctx, src)
	switch {
	case err == nil:
		f.ended = time.Now()
		close(f.done)
	case ctx.Err() == nil && !src.blob.broke.Load():
		err = fault.Mark(ErrLayer, err)
	}
	return errors.Join(err, src.close())
}

// check makes the layer's files while it checks what they are made of.
func (f *layerFill) check(ctx context.Context, src *source) error {
	sum := f.DiffID.Algorithm().Digester()
	in := ahead.Start(ctx, src.tar, sum.Hash())
	defer in.Stop()
	if err := f.apply(ctx, in); err != nil {
		return err
	}
	if err := in.Drain(); err != nil {
		return err
	}
	in.Stop()
	// Past the compressed stream, to check the blob's digest.
	if _, err := io.Copy(io.Discard, src.blob); err != nil {
		return err
	}
	if got := sum.Digest(); got != f.DiffID {
		return fmt.Errorf("its content is %s, but the config says %s: %w", got, f.DiffID, content.ErrCorrupt)
	}
	return nil
}

// trust makes the files of a source that is checked.
func (f *layerFill) trust(ctx context.Context, src *source) error {
	tar := bufio.NewReaderSize(src.tar, headBuffer)
	if err := f.apply(ctx, tar); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, tar)
	return err
}

func (f *layerFill) apply(ctx context.Context, tar io.Reader) error {
	synced := &syncEach{Reader: tar, syncer: f.syncer, size: fillPiece, left: fillPiece}
	return unpack.Apply(ctx, synced, f.target.of(f.parents))
}

// parents returns the directories of the layers below once they are complete.
func (f *layerFill) parents(ctx context.Context) ([]string, error) {
	for l := f.lower; l != nil; l = l.lower {
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return f.target.below, nil
}

// sync makes durable what this process wrote to the snapshotter's file system.
func (f *layerFill) sync() error {
	if err := f.syncer.end(); err != nil {
		return fmt.Errorf("sync snapshot of layer %s: %w", f.Blob.Digest, err)
	}
	return nil
}

// commit commits the snapshot.
func (f *layerFill) commit(ctx context.Context, u Unpacker, opts ...snapshots.Opt) error {
	// The content is verified, so set the label. This comes before the commit: a
	// caller that finds the snapshot applies nothing, and would not set it. A layer that
	// was made to be unpacked has no blob.
	if err := content.SetLabels(ctx, u.Client.ContentStore(), f.Blob.Digest, content.LayerLabels(f.DiffID)); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err := f.active.commit(ctx, f.ChainID.String(), opts...); err != nil {
		return err
	}
	u.Steps.Count(1, lastPart(f.Blob.Size))
	return nil
}

func (f *layerFill) fail(err error) error {
	return fmt.Errorf("apply layer %s: %w", f.Blob.Digest, err)
}
