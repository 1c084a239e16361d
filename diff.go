package veneer

import (
	"context"
	"errors"
	"io"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/engine"
)

// DiffResult is what a build would change, and what that would cost.
type DiffResult struct {
	Base string `json:"base"`
	// Changes are in the order in which a layer holds them.
	Changes []PathChange   `json:"changes"`
	Summary differ.Summary `json:"summary"`
	// Removed counts the base's files that the image would lack, directories
	// aside, and their bytes: those below a deleted directory, too.
	Removed differ.Tally `json:"removed"`
	// Layer is the size of the layer that a build would store, in bytes; 0 if
	// there is none. UncompressedLayer is that of its tar.
	Layer             int64    `json:"layer_bytes"`
	UncompressedLayer int64    `json:"uncompressed_layer_bytes"`
	Warnings          []string `json:"warnings,omitempty"`
}

// PathChange is one path that differs.
type PathChange struct {
	Kind differ.Kind `json:"kind"`
	// Path is absolute in the image.
	Path string `json:"path"`
	// Bytes is the content that the layer would store for it.
	Bytes  int64         `json:"bytes"`
	Reason differ.Reason `json:"reason"`
	// RemovedFiles and RemovedBytes are the change's part of [DiffResult].Removed.
	RemovedFiles int64 `json:"removed_files,omitempty"`
	RemovedBytes int64 `json:"removed_bytes,omitempty"`
}

// Diff tells what [Build] would change. No image, blob or snapshot is written;
// indexes of layers and digests of source files are remembered, unless NoCache
// is set. The layer is made, to know its size, and thrown away.
func Diff(ctx context.Context, e *engine.Engine, req Request) (_ *DiffResult, err error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	req.MaxLayers = -1 // What differs from the base is asked for.
	b := newBuild(e, req)
	ctx, release, err := content.NewLease(e.Context(ctx), e.Client)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close(ctx, release, false)) }()
	b.steps.start("resolve")
	if err := b.resolve(ctx); err != nil {
		return nil, err
	}
	b.steps.start(StepCompare)
	if err := b.compare(ctx); err != nil {
		return nil, err
	}
	return b.diffResult(ctx, b.base.Name)
}

// diffResult lists what was compared; base is what it was compared with.
func (b *build) diffResult(ctx context.Context, base string) (*DiffResult, error) {
	res := &DiffResult{Base: base, Changes: []PathChange{}, Warnings: b.result.Warnings}
	if !b.empty() {
		b.steps.start("layer")
		if err := b.measure(ctx, res); err != nil {
			return nil, err
		}
	}
	if b.changes != nil {
		res.Summary = b.changes.Summary()
	}
	b.keepMemories(ctx)
	b.steps.end()
	return res, nil
}

// measure lists the changes and makes the layer, to nowhere.
func (b *build) measure(ctx context.Context, res *DiffResult) error {
	err := b.changes.Each(func(ch *differ.Change) error {
		if ch.Parent {
			return nil
		}
		gone, err := b.changes.Removed(ctx, ch)
		if err != nil {
			return err
		}
		res.Removed.Count += gone.Count
		res.Removed.Bytes += gone.Bytes
		res.Changes = append(res.Changes, PathChange{
			Kind: ch.Kind, Path: "/" + ch.Path, Bytes: ch.Bytes(), Reason: ch.Reason, RemovedFiles: gone.Count, RemovedBytes: gone.Bytes,
		})
		return nil
	})
	if err != nil {
		return err
	}
	blob, err := layer.Write(ctx, io.Discard, b.changes, layer.Options{
		Compression: b.Compression, Level: b.CompressionLevel, Epoch: b.layerEpoch(), Count: b.steps.count,
	})
	if err != nil {
		return err
	}
	res.Layer, res.UncompressedLayer = blob.Size, blob.UncompressedSize
	return nil
}
