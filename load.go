package veneer

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/internal/words"
	"github.com/veneer-build/veneer/snapshot"
)

// LoadRequest says how to load an archive.
type LoadRequest struct {
	// Names, Image and Platform are as in [archive.Options].
	Names    []string
	Image    string
	Platform string
	// NoUnpack leaves the snapshots out.
	NoUnpack bool
	// Recompress allows another image where a layer's blob cannot be made again of a
	// delta below the file: its tar is compressed in today's way.
	Recompress bool
	// Size is the archive's size in bytes, for the progress; 0: it is unknown.
	Size int64
	// Progress is told of each step and of bytes that were read; nil: nobody is.
	Progress Progress
	// Log gets details. nil: they are discarded.
	Log *slog.Logger
}

// Loaded tells what was loaded.
type Loaded struct {
	Images   []images.Image
	Warnings []Notice
	// Rebuilt are the images of which layers were made of deltas below the file.
	Rebuilt []RebuiltImage
}

// RebuiltImage tells what was made of a delta below the file.
type RebuiltImage = archive.Rebuilt

// Load stores the images of an archive, unpacks them and names them, see
// [archive.Import]. The layers that a delta archive leaves out must be in the
// engine: as blobs, or as a snapshot if containerd discarded the blobs after
// unpacking. An image with layers of the second kind runs, but cannot be pushed or
// saved whole, and a warning says so. If the engine cannot unpack, that may be a
// warning too, see [engine.Engine.MayUnpack].
//
// Of a delta below the file (package delta) the layers are made again, from the files
// of images that must be in the engine. The result is the same image, or an error.
func Load(ctx context.Context, e *engine.Engine, r io.Reader, req LoadRequest) (*Loaded, error) {
	s := &loadSnapshots{engine: e, noUnpack: req.NoUnpack, steps: progress.New(req.Progress), log: req.Log}
	s.steps.Start("load")
	if req.Size > 0 {
		s.steps.Total(func() (int64, int64) { return 0, req.Size })
	}
	opts := archive.Options{
		Names: req.Names, Image: req.Image, Platform: req.Platform, Snapshots: s, Sources: s, Recompress: req.Recompress,
	}
	if ok, _ := e.MayUnpack(); ok && !req.NoUnpack {
		opts.At = archive.At(r)
		opts.Meanwhile = func(ctx context.Context, img *content.Image, blobs func(context.Context, ocispec.Descriptor) io.ReadCloser) *arriving.Beside {
			return s.meanwhile(ctx, img, func(ctx context.Context, steps *progress.Steps) error {
				return build.UnpackArriving(ctx, e, img, blobs, steps)
			})
		}
	}
	records, err := archive.Import(e.Context(ctx), e.Client, s.steps.Reader(r), opts)
	if err != nil {
		return nil, err
	}
	s.steps.End()
	return &Loaded{Images: records, Warnings: s.warnings, Rebuilt: s.rebuilt}, nil
}

// OpenArchive opens an archive's file for [Load], or with oci:DIR an OCI image layout
// in a directory. Of a pipe it waits for the other end, but no longer than ctx, with
// which a read of it ends, too.
func OpenArchive(ctx context.Context, file string) (io.ReadCloser, error) {
	if dir, ok := strings.CutPrefix(file, "oci:"); ok && dir != "" {
		return archive.OpenLayout(dir)
	}
	return archive.OpenFile(ctx, file)
}

// loadSnapshots are the engine's snapshots, as [archive.Import] needs them.
type loadSnapshots struct {
	engine   *engine.Engine
	noUnpack bool
	steps    *progress.Steps
	log      *slog.Logger
	warnings []Notice
	rebuilt  []RebuiltImage
	told     bool // that nothing is unpacked
	early    early
}

// meanwhile begins to unpack an image.
func (s *loadSnapshots) meanwhile(ctx context.Context, img *content.Image, unpack func(context.Context, *progress.Steps) error) *arriving.Beside {
	s.early = early{}
	s.early.beside = arriving.Run(ctx, s.early.of(img, s.log, unpack))
	return s.early.beside
}

// Has implements [archive.Snapshots].
func (s *loadSnapshots) Has(ctx context.Context, chainID digest.Digest) (bool, error) {
	if err := snapshot.Hold(ctx, s.engine.Client, s.engine.Snapshotter, chainID); err != nil {
		return false, err
	}
	return snapshot.Exists(ctx, s.engine.Client.SnapshotService(s.engine.Snapshotter), chainID.String())
}

// Keep implements [archive.Snapshots].
func (s *loadSnapshots) Keep(ctx context.Context, img *content.Image, chainID digest.Digest) error {
	s.warnings = append(s.warnings, Notice{Text: fmt.Sprintf("the image %s cannot be pushed or saved as a whole: %s %s here as a snapshot only; pull its base again to get %s",
		img.Manifest.Digest, words.Some(len(img.Missing), "layer"), words.Pick(len(img.Missing), "is", "are"), words.Pick(len(img.Missing), "it", "them"))})
	part := *img
	part.ChainID = chainID
	return content.KeepSnapshot(ctx, s.engine.Client.ContentStore(), &part, s.engine.Snapshotter)
}

// Unpack implements [archive.Snapshots].
func (s *loadSnapshots) Unpack(ctx context.Context, name string, img *content.Image) error {
	if s.noUnpack {
		return nil
	}
	ok, warning := s.engine.MayUnpack()
	if warning != nil && !s.told {
		s.told = true
		s.warnings = append(s.warnings, fault.NoticeOf(warning))
	}
	if !ok {
		return nil
	}
	s.steps.Begin(progress.Step{Kind: "unpack", Of: name})
	if err := s.early.end(ctx, img, s.steps); err != nil {
		return err
	}
	_, err := build.UnpackImage(ctx, s.engine, img, s.steps)
	return err
}
