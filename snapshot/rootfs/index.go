package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/index"
	"github.com/veneer-build/veneer/internal/compression"
	"github.com/veneer-build/veneer/internal/ctxio"
)

// openIndex opens the base as the merged indexes of its layers.
func (r Files) openIndex(ctx context.Context) (tree.Tree, error) {
	layers, err := r.Indexes(ctx)
	if err != nil {
		return nil, err
	}
	spool := r.streams.NewSpool(r.Spool, len(layers), func(i int) (io.ReadCloser, error) {
		return r.openTar(ctx, r.Image.Layers[i])
	})
	o := index.MergeOptions{Open: spool.Open, Expect: spool.Expect, RootMeta: r.RootMeta}
	merged, err := index.Merge(ctx, layers, o)
	if err != nil {
		// The layers may still work on snapshotters that apply them directly.
		o.Direct = true
		direct, directErr := index.Merge(ctx, layers, o)
		if directErr != nil {
			return nil, errors.Join(fmt.Errorf("read %s: %w", r, err), spool.Close())
		}
		r.warnOf(fmt.Sprintf("containerd cannot unpack it on overlayfs: %v", err))
		merged = direct
	}
	if d := merged.Divergence(); d != nil {
		r.warnOf(d.String() + "; what is built is for what overlayfs shows")
	}
	return held{merged, spool}, nil
}

// Indexes returns the indexes of all layers, the lowest first: from the cache, or made
// of the layers' blobs, which must be stored.
func (r Files) Indexes(ctx context.Context) ([]*index.Index, error) {
	return indexesOf(ctx, r, &r.layers, form[*index.Index]{index.Decode, index.ScanLayer})
}

// Packed is Indexes, in the form that takes less memory.
func (r Files) Packed(ctx context.Context) ([]*index.Packed, error) {
	return indexesOf(ctx, r, &r.packed, form[*index.Packed]{index.DecodePacked, index.ScanPacked})
}

// anIndex is a form of a layer's index.
type anIndex interface {
	Len() int
	Layer() tree.Digest
	Encode(w io.Writer) error
}

// form has what makes a form of a layer's index: of what the cache has, and of a layer.
type form[X anIndex] struct {
	decode, scan func(context.Context, io.Reader, *index.Budget) (X, error)
}

func indexesOf[X anIndex](ctx context.Context, r Files, known *indexes[X], f form[X]) ([]X, error) {
	if len(r.Image.Missing) > 0 {
		return nil, fmt.Errorf("read %s: the blob of layer %s is not stored; pull the image again", r, r.Image.Missing[0].Digest)
	}
	layers, err := known.once(ctx, r.Image, func(ctx context.Context, i int, b *index.Budget) (X, error) {
		return f.layer(ctx, r, i, b)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r, err)
	}
	return layers, nil
}

// OncePerLayer calls read for each layer of an image, two at a time since each
// has a goroutine to decompress and one to hash, and returns what it did. A
// layer that is listed many times is asked for and held once; its entries count
// each time. The budget is of all of them together.
func OncePerLayer(ctx context.Context, img *content.Image, read func(context.Context, int, *index.Budget) (*index.Index, error)) ([]*index.Index, error) {
	return new(indexes[*index.Index]).once(ctx, img, read)
}

// indexes are those of all layers that one command reads, of several images that
// have layers in common as a rule. They have one budget. The zero value is ready.
type indexes[X anIndex] struct {
	mu     sync.Mutex
	known  map[layer]X
	budget index.Budget
}

type layer struct{ blob, diffID digest.Digest }

// once is [OncePerLayer] for one image of several.
func (x *indexes[X]) once(ctx context.Context, img *content.Image, read func(context.Context, int, *index.Budget) (X, error)) ([]X, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.known == nil {
		x.known = map[layer]X{}
	}
	all := make([]X, len(img.Layers))
	first := map[layer]int{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i, l := range img.Layers {
		key := layer{l.Digest, img.DiffIDs[i]}
		_, seen := first[key]
		if _, known := x.known[key]; !seen && !known {
			first[key] = i
			x.budget.Allow(l.Size)
		}
	}
	for i, l := range img.Layers {
		if at, mine := first[layer{l.Digest, img.DiffIDs[i]}]; mine && at == i {
			g.Go(func() (err error) {
				all[i], err = read(gctx, i, &x.budget)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for key, i := range first {
		x.known[key] = all[i]
	}
	listed := map[layer]bool{}
	for i, l := range img.Layers {
		key := layer{l.Digest, img.DiffIDs[i]}
		all[i] = x.known[key]
		if listed[key] {
			if err := x.budget.Again(all[i]); err != nil {
				return nil, fmt.Errorf("layer %s, which is listed several times: %w", l.Digest, err)
			}
		}
		listed[key] = true
	}
	return all, nil
}

// layer returns the index of a layer, from the cache or a new one.
func (f form[X]) layer(ctx context.Context, r Files, i int, b *index.Budget) (x X, err error) {
	l, diffID := r.Image.Layers[i], r.Image.DiffIDs[i]
	if r.Cache != nil {
		var stop error // It is not the entry's fault, so that stays.
		found, err := r.Cache.Get(ctx, l.Digest, func(r io.Reader) (err error) {
			x, err = f.decode(ctx, r, b)
			switch {
			case errors.Is(err, index.ErrLimit) || ctx.Err() != nil:
				stop, err = err, nil
			case err == nil && Digest(x.Layer()) != diffID:
				err = errors.New("index of another layer")
			}
			return err
		})
		if stop != nil {
			return x, fmt.Errorf("layer %s: %w", l.Digest, stop)
		}
		if err != nil {
			r.Log.Debug("cannot read index of layer", "layer", l.Digest, "error", err)
		}
		if found {
			return x, nil
		}
	}
	err = r.readLayer(ctx, l, func(r io.Reader) (err error) {
		if x, err = f.scan(ctx, r, b); err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest, err)
		}
		return nil
	})
	if err != nil {
		return x, err
	}
	if got := Digest(x.Layer()); diffID.Algorithm() == digest.SHA256 && got != diffID {
		return x, fmt.Errorf("layer %s: its content is %s, but the config says %s: %w", l.Digest, got, diffID, content.ErrCorrupt)
	}
	r.KeepIndex(ctx, l.Digest, x.Encode)
	return x, nil
}

// KeepIndex puts an index into the cache. If that fails, it only logs the error: the
// cache may belong to another user.
func (r Files) KeepIndex(ctx context.Context, layer digest.Digest, encode func(io.Writer) error) {
	if r.Cache == nil {
		return
	}
	if err := r.Cache.Put(ctx, layer, encode); err != nil {
		r.Log.Debug("cannot keep index of layer", "layer", layer, "error", err)
	}
}

// readLayer calls fn with a layer's tar, and checks the blob's digest if fn
// reads to the end.
func (r Files) readLayer(ctx context.Context, l ocispec.Descriptor, fn func(io.Reader) error) error {
	t, err := r.openTar(ctx, l)
	if err != nil {
		return err
	}
	defer t.Close() // only read
	if err := fn(t); err != nil {
		return err
	}
	// Read the blob to its end, past the compressed stream, to check its digest.
	_, err = io.Copy(io.Discard, t.blob)
	return err
}

// openTar opens a layer's tar.
func (r Files) openTar(ctx context.Context, l ocispec.Descriptor) (*layerTar, error) {
	if fetch := r.absent[l.Digest]; fetch != nil {
		if err := fetch(ctx, l); err != nil {
			return nil, err
		}
	}
	blob, err := content.ReadBlob(ctx, r.Client.ContentStore(), l)
	if err != nil {
		return nil, err
	}
	plain, _, err := compression.Decompress(blob)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("layer %s: %w", l.Digest, err), blob.Close())
	}
	return &layerTar{ctxio.Reader(ctx, plain), plain, blob}, nil
}

// layerTar is a layer's uncompressed tar.
type layerTar struct {
	io.Reader
	plain io.Closer
	blob  io.ReadCloser
}

func (t *layerTar) Close() error { return errors.Join(t.plain.Close(), t.blob.Close()) }
