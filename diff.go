package veneer

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
)

// DiffRequest says what to compare. Its fields mean the same as in [BuildRequest].
type DiffRequest struct {
	// Base is as in [BuildRequest].
	Base string
	// NoUnpack: the base is not unpacked in order to read it.
	NoUnpack bool

	TargetOptions
	ReadOptions
	LayerOptions
	Reports
}

func (r DiffRequest) withDefaults() (_ DiffRequest, err error) {
	if r.LayerOptions, err = r.LayerOptions.withDefaults(); err != nil {
		return r, err
	}
	if err := errors.Join(checkBase(r.Base), r.Reader.Check()); err != nil {
		return r, err
	}
	return r, r.checkTargets()
}

// DiffResult is what a build would change, and what that would cost.
type DiffResult struct {
	Base string `json:"base"`
	// Changes are in the order in which a layer holds them.
	Changes []PathChange   `json:"changes"`
	Summary differ.Summary `json:"summary"`
	// Removed counts the base's files that the image would lack, and their bytes.
	// It counts files below deleted directories, and does not count directories.
	Removed differ.Tally `json:"removed"`
	// Layer is the size of the layer that a build would store, in bytes. It is 0 if
	// there would be none. UncompressedLayer is the size of its tar.
	Layer             int64    `json:"layer_bytes"`
	UncompressedLayer int64    `json:"uncompressed_layer_bytes"`
	Warnings          []Notice `json:"warnings,omitempty"`
}

// PathChange is one path that differs.
type PathChange struct {
	Kind differ.Kind `json:"kind"`
	// Path is absolute in the image.
	Path string `json:"path"`
	// Bytes is the content that the layer would store for it.
	Bytes  int64         `json:"bytes"`
	Reason differ.Reason `json:"reason"`
	// RemovedFiles and RemovedBytes are this change's part of [DiffResult].Removed.
	RemovedFiles int64 `json:"removed_files,omitempty"`
	RemovedBytes int64 `json:"removed_bytes,omitempty"`
}

// Diff tells what [Build] would change. It stores no image, blob or snapshot. Unless
// NoCache is set, it adds indexes of layers and digests of source files to the
// cache. It makes the layer to learn its size, and throws it away.
func Diff(ctx context.Context, e *engine.Engine, req DiffRequest) (*DiffResult, error) {
	req, err := req.withDefaults()
	if err != nil {
		return nil, err
	}
	o := build.Options{NoUnpack: req.NoUnpack, NoCache: req.NoCache, AllowEncrypted: true}
	return measure(ctx, e, o, req.Reports, req.LayerOptions, func(ctx context.Context, s *build.Session) (string, *build.Diff, error) {
		base, err := s.Base(ctx, req.Base, req.Platform)
		if err != nil {
			return "", nil, err
		}
		specs, err := target.Expand(req.Targets, base.Platform)
		if err != nil {
			return "", nil, err
		}
		d, err := req.compare(ctx, s, base, specs, req.ReadOptions)
		return base.Name, d, err
	})
}

// measure lists what a comparison found, and the size of its layer. compare returns
// the difference and the base's name.
func measure(ctx context.Context, e *engine.Engine, o build.Options, r Reports, l LayerOptions, compare func(context.Context, *build.Session) (string, *build.Diff, error)) (*DiffResult, error) {
	o.Steps, o.Log = progress.New(r.Progress), r.Log
	res := &DiffResult{Changes: []PathChange{}}
	err := build.Run(ctx, e, o, func(ctx context.Context, s *build.Session) error {
		var d *build.Diff
		var err error
		if res.Base, d, err = compare(ctx, s); err != nil {
			return err
		}
		res.Summary = d.Summary()
		res.Layer, res.UncompressedLayer, err = s.Measure(ctx, d, l.layer(), func(ch *differ.Change, gone differ.Tally) {
			if ch.Parent {
				return
			}
			res.Removed.Count += gone.Count
			res.Removed.Bytes += gone.Bytes
			res.Changes = append(res.Changes, PathChange{
				Kind: ch.Kind, Path: "/" + ch.Path, Bytes: ch.Bytes(), Reason: ch.Reason, RemovedFiles: gone.Count, RemovedBytes: gone.Bytes,
			})
		})
		s.Remember(ctx)
		res.Warnings = s.Warnings.All()
		return err
	})
	if err != nil {
		return nil, err
	}
	o.Steps.End()
	return res, nil
}
