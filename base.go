package veneer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
)

// maxExtract bounds a base file that is read out of its layer's blob: only
// small ones, /etc/passwd and its like, are.
const maxExtract = 64 << 20

// Cache returns the place where builds on an engine keep indexes of layers and
// digests of source files.
func Cache(e *engine.Engine) *content.Cache {
	return &content.Cache{Dir: filepath.Join(e.Root, "cache")}
}

// openBase opens the base's root file system for reading; the caller closes it.
//
// The layers of a snapshot, where they are directories of this host, cost what
// is read of them. An index costs the reading of whole blobs once, and needs
// neither a snapshot nor root.
func (b *build) openBase(ctx context.Context, reader ReaderKind) (tree.Tree, error) {
	switch {
	case b.base.IsScratch():
		return tree.Merge(nil, tree.MergeOptions{})
	case reader == ReadIndex:
		return b.openIndex(ctx)
	case reader == ReadAuto && b.prefersIndex():
		return b.openIndex(ctx)
	}
	if err := b.unpackBase(ctx); err != nil {
		return nil, err
	}
	layers, err := b.openLayers(ctx)
	switch {
	case !errors.Is(err, snapshot.ErrNoLayers):
		return layers, err
	case reader == ReadAuto && len(b.base.Missing) == 0:
		return b.openIndex(ctx)
	}
	return b.openView(ctx)
}

// prefersIndex reports whether a snapshot is out of the question.
func (b *build) prefersIndex() bool {
	return len(b.base.Missing) == 0 && (b.NoUnpack || os.Geteuid() != 0 || b.engine.Unpacks() != nil)
}

func (b *build) snapshotter() snapshots.Snapshotter {
	return b.engine.Client.SnapshotService(b.engine.Snapshotter)
}

// openIndex opens the base as the merged indexes of its layers.
func (b *build) openIndex(ctx context.Context) (tree.Tree, error) {
	if len(b.base.Missing) > 0 {
		return nil, fmt.Errorf("read base %s: the blob of layer %s is not stored; pull the image again", b.base.Name, b.base.Missing[0].Digest)
	}
	layers := make([]*tree.Index, len(b.base.Layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2) // each has a goroutine to decompress and one to hash
	for i, l := range b.base.Layers {
		g.Go(func() (err error) {
			layers[i], err = b.layerIndex(gctx, l, b.base.DiffIDs[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("read base %s: %w", b.base.Name, err)
	}
	merged, err := tree.Merge(layers, tree.MergeOptions{Open: func(i int, rec *tree.Record) (tree.File, error) {
		return b.extract(ctx, b.base.Layers[i], rec)
	}})
	if err != nil {
		return nil, fmt.Errorf("read base %s: %w", b.base.Name, err)
	}
	return merged, nil
}

// layerIndex returns the index of a layer: the one kept, or a new one.
func (b *build) layerIndex(ctx context.Context, l ocispec.Descriptor, diffID digest.Digest) (*tree.Index, error) {
	var x *tree.Index
	cache := Cache(b.engine)
	if !b.NoCache {
		found, err := cache.Get(ctx, l.Digest, func(r io.Reader) (err error) {
			x, err = tree.DecodeIndex(r)
			if err == nil && toDigest(x.DiffID) != diffID {
				err = errors.New("index of another layer")
			}
			return err
		})
		if err != nil {
			b.log.Debug("cannot read index of layer", "layer", l.Digest, "error", err)
		}
		if found {
			return x, nil
		}
	}
	x, err := b.scan(ctx, l)
	if err != nil {
		return nil, err
	}
	if got := toDigest(x.DiffID); diffID.Algorithm() == digest.SHA256 && got != diffID {
		return nil, fmt.Errorf("layer %s: its content is %s, but the config says %s; pull the image again", l.Digest, got, diffID)
	}
	b.keepIndex(ctx, l.Digest, x)
	return x, nil
}

// keepIndex remembers an index. That it cannot be is no reason to fail: the
// cache may belong to another user.
func (b *build) keepIndex(ctx context.Context, layer digest.Digest, x *tree.Index) {
	if b.NoCache {
		return
	}
	if err := Cache(b.engine).Put(ctx, layer, x.Encode); err != nil {
		b.log.Debug("cannot keep index of layer", "layer", layer, "error", err)
	}
}

func (b *build) scan(ctx context.Context, l ocispec.Descriptor) (x *tree.Index, err error) {
	err = b.readLayer(ctx, l, func(r io.Reader) error {
		x, err = tree.ScanLayer(ctx, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.Digest, err)
	}
	return x, nil
}

// readLayer calls fn with a layer's tar, and checks the blob's digest if fn
// reads to the end.
func (b *build) readLayer(ctx context.Context, l ocispec.Descriptor, fn func(io.Reader) error) error {
	blob, err := content.ReadBlob(ctx, b.engine.Client.ContentStore(), l)
	if err != nil {
		return err
	}
	defer blob.Close()
	r, _, err := tree.Decompress(blob)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := fn(r); err != nil {
		return err
	}
	// What follows the compressed stream belongs to the blob as well.
	_, err = io.Copy(io.Discard, blob)
	return err
}

// errFound ends the reading of a layer before its end.
var errFound = errors.New("found")

// extract reads one file out of a layer.
func (b *build) extract(ctx context.Context, l ocispec.Descriptor, rec *tree.Record) (tree.File, error) {
	if rec.Size > maxExtract {
		return nil, fmt.Errorf("read %s of layer %s: larger than %d bytes", rec.Path, l.Digest, int64(maxExtract))
	}
	var data []byte
	err := b.readLayer(ctx, l, func(r io.Reader) error {
		tr := tar.NewReader(r)
		for {
			hdr, err := tr.Next()
			if err != nil {
				return err
			}
			if path.Clean(hdr.Name) != rec.Path || hdr.Size != rec.Size {
				continue
			}
			if data, err = io.ReadAll(tr); err != nil {
				return err
			}
			if tree.Digest(sha256.Sum256(data)) == rec.Digest {
				return errFound
			}
		}
	})
	if !errors.Is(err, errFound) {
		return nil, fmt.Errorf("read %s of layer %s: not in it: %w", rec.Path, l.Digest, err)
	}
	return memoryFile{bytes.NewReader(data)}, nil
}

// memoryFile is a file that was read whole.
type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error               { return nil }
func (memoryFile) Stamp() (tree.Stamp, error) { return tree.Stamp{}, nil }
func toDigest(d tree.Digest) digest.Digest    { return digest.NewDigestFromBytes(digest.SHA256, d[:]) }

// openLayers opens the base's snapshot in place, layer by layer.
func (b *build) openLayers(ctx context.Context) (tree.Tree, error) {
	layers, err := snapshot.OpenLayers(ctx, b.snapshotter(), b.base.ChainID.String())
	if err != nil {
		return nil, fmt.Errorf("read base %s: %w", b.base.Name, err)
	}
	for _, dir := range layers.Dirs {
		if err := b.engine.Sees(ctx, dir); err != nil {
			err = fmt.Errorf("read base %s: %w: %w", b.base.Name, snapshot.ErrNoLayers, err)
			return nil, errors.Join(err, layers.Close())
		}
	}
	stack, err := tree.OpenStack(layers.Dirs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read base %s: %w", b.base.Name, err), layers.Close())
	}
	return held{stack, layers}, nil
}

// openView opens the base's snapshot through a mount.
func (b *build) openView(ctx context.Context) (tree.Tree, error) {
	view, err := snapshot.OpenView(ctx, b.snapshotter(), b.base.ChainID.String())
	if err != nil {
		return nil, fmt.Errorf("read base %s: %w", b.base.Name, err)
	}
	l, err := tree.OpenLocal(view.Dir())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read base %s: %w", b.base.Name, err), view.Close())
	}
	return held{l, view}, nil
}

// held is a tree that lets go of a snapshot when it is closed.
type held struct {
	tree.Tree
	snapshot io.Closer
}

func (h held) Close() error { return errors.Join(h.Tree.Close(), h.snapshot.Close()) }
