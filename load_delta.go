package veneer

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/arriving"
	"github.com/veneer-build/veneer/internal/progress"
)

// Files implements [archive.Sources]. It reads the images' snapshots, and makes these
// for the time if need be: reading them takes less memory than the layers' blobs do. It
// reads those where this process may not read the snapshotter's directories, or nothing
// is to be unpacked.
func (s *loadSnapshots) Files(ctx context.Context, imgs []*content.Image) (archive.Files, error) {
	defer s.steps.Within(progress.Step{Kind: "open", Of: imgs[0].Name})()
	roots := build.Roots(s.engine, s.steps, func(text string) { s.warnings = append(s.warnings, Notice{Text: text}) })
	for _, img := range imgs {
		if s.noUnpack || len(img.Missing) > 0 || !s.engine.UsesDirs() || s.engine.Unpacks() != nil {
			continue
		}
		if _, err := roots.UnpackImage(ctx, img); err != nil {
			return nil, err
		}
	}
	files, err := roots.OpenSources(ctx, imgs)
	if err != nil {
		return nil, err
	}
	return files, nil
}

// Meanwhile implements [archive.Sources].
func (s *loadSnapshots) Meanwhile(ctx context.Context, img *content.Image, tars *arriving.Tars) *arriving.Beside {
	if ok, _ := s.engine.MayUnpack(); !ok || s.noUnpack || !s.engine.UsesDirs() {
		tars.Closed()
		return nil
	}
	return s.meanwhile(ctx, img, func(ctx context.Context, steps *progress.Steps) error {
		defer tars.Closed()
		return build.UnpackMade(ctx, s.engine, img, tars.Open, steps)
	})
}

// Rebuilds implements [archive.Sources].
func (s *loadSnapshots) Rebuilds(layer ocispec.Descriptor, size int64) func(int64) {
	s.steps.Begin(progress.Step{Kind: "rebuild", Of: layer.Digest.Encoded()[:12]})
	if size > 0 {
		s.steps.Total(func() (int64, int64) { return 0, size })
	}
	return func(bytes int64) { s.steps.Count(0, bytes) }
}

// Rebuilt implements [archive.Sources].
func (s *loadSnapshots) Rebuilt(r RebuiltImage) { s.rebuilt = append(s.rebuilt, r) }
