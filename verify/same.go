package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot/rootfs"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/cache"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
)

// SameRequest names two images whose files are compared. A and B are required.
type SameRequest struct {
	A, B string
	// Platform chooses from multi-platform images; empty: the host's.
	Platform string
	// Times: modification times are compared too.
	Times bool
	// Progress is told of each step; nil: nobody is.
	Progress progress.Progress
	// Log is for details; nil discards.
	Log *slog.Logger
}

// SameResult tells whether two images show the same files.
type SameResult struct {
	A       string        `json:"a"`
	B       string        `json:"b"`
	ADigest digest.Digest `json:"a_digest"`
	BDigest digest.Digest `json:"b_digest"`
	Same    bool          `json:"same"`
	// Differences are up to a thousand, in the order of their paths. Total counts
	// all of them.
	Differences []PathDifference `json:"differences"`
	Total       int              `json:"total"`
	// Files counts what B shows, directories included.
	Files   int64   `json:"files"`
	Seconds float64 `json:"seconds"`
}

// PathDifference is one way in which a path is not the same in two images.
type PathDifference struct {
	// Path is absolute in the images.
	Path   string        `json:"path"`
	Aspect differ.Aspect `json:"aspect"`
	// A and B are what each image has, as text. They are empty if Aspect says it all.
	A string `json:"a,omitempty"`
	B string `json:"b,omitempty"`
}

// opener opens root file systems without making snapshots of them.
func opener(e *engine.Engine, steps *progress.Steps, log *slog.Logger, cache *cache.Cache) *rootfs.Opener {
	return &rootfs.Opener{
		Client: e.Client, Snapshotter: e.Snapshotter, Host: e, Cache: cache, NoUnpack: true, Steps: steps, Log: progress.Log(log),
	}
}

// Same compares the files of two images: types, modes, owners, sizes, contents,
// link targets, devices, extended attributes and hard links. It ignores AUFS's own
// files, see [differ.IsAUFS]. It reads files from the layers if they are stored,
// else from the snapshot. It writes nothing but indexes of layers to the cache.
func Same(ctx context.Context, e *engine.Engine, req SameRequest) (_ *SameResult, err error) {
	steps := progress.New(req.Progress)
	ctx, release, err := lease.New(e.Context(ctx), e.Client.LeasesService())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release(ctx)) }()

	steps.Start("resolve")
	roots := opener(e, steps, req.Log, &cache.Cache{Dir: e.CacheDir()})
	open := func(ref string) (tree.Tree, *content.Image, error) {
		img, err := content.Resolve(ctx, e.Client, ref, req.Platform)
		if err != nil {
			return nil, nil, err
		}
		if err := content.Hold(ctx, e.Client, img); err != nil {
			return nil, nil, err
		}
		r := roots.Of(img, "image")
		reader := rootfs.Index
		if len(img.Missing) > 0 {
			reader = rootfs.View
		}
		t, err := r.Open(ctx, reader)
		return t, img, err
	}
	a, aimg, err := open(req.A)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	b, bimg, err := open(req.B)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()

	steps.Start(progress.Compare)
	steps.Total(func() (files, bytes int64) {
		files, _ = tree.Count(b) // Contents are known by their digests.
		return files, 0
	})
	res := &SameResult{A: aimg.Name, B: bimg.Name, ADigest: aimg.Manifest.Digest, BDigest: bimg.Manifest.Digest}
	if err := res.compare(ctx, a, b, req.Times, steps); err != nil {
		return nil, fmt.Errorf("compare %s with %s: %w", res.A, res.B, err)
	}
	_, res.Seconds = steps.End()
	return res, nil
}

func (r *SameResult) compare(ctx context.Context, a, b tree.Tree, times bool, steps *progress.Steps) error {
	r.Differences = []PathDifference{}
	err := differ.Same(ctx, a, b, differ.SameOptions{
		Times: times, NoAUFS: true,
		Count: func(files, bytes int64) {
			if files > 0 {
				r.Files += files // from the walk alone
			}
			steps.Count(files, bytes)
		},
		Report: func(d differ.Difference) error {
			if r.Total++; r.Total <= maxDifferences {
				r.Differences = append(r.Differences, PathDifference{Path: "/" + d.Path, Aspect: d.Aspect, A: d.Want, B: d.Got})
			}
			return nil
		},
	})
	slices.SortStableFunc(r.Differences, func(x, y PathDifference) int { return strings.Compare(x.Path, y.Path) })
	r.Same = r.Total == 0
	return err
}
