package veneer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/internal/tempfile"
)

// maxCostly is the number of files of a layer whose costs are kept: the costliest ones.
const maxCostly = 1000

// SaveDeltaRequest says what to make a delta below the file of.
type SaveDeltaRequest struct {
	// Image is the image that the delta makes, and Since are the images that its reader
	// has: references as [content.Resolve] takes them. There must be one of Since. Their
	// files are read from their snapshots, or else from their layers.
	Image string
	Since []string
	// Platform chooses one of multi-platform images. Empty: the host's.
	Platform string
	// Files: the costliest files of each layer are in the result.
	Files bool
	// NoCache: indexes of layers are neither taken from the cache nor kept in it.
	NoCache bool
	// Progress is told of each step, and of bytes. nil: no reports.
	Progress Progress
}

// SavedDelta tells what a delta below the file has in it.
type SavedDelta struct {
	archive.Exported
	// Name and Digest are those of the image that it makes.
	Name   string        `json:"name,omitempty"`
	Digest digest.Digest `json:"digest"`
	// ArchiveBytes is the size of the archive.
	ArchiveBytes int64 `json:"archive_bytes"`
	// LayerBytes is the size of the layers that the archive has, or has deltas of.
	LayerBytes int64 `json:"layer_bytes"`
	// Layers are those of the image, the lowest first.
	Layers   []LayerCost `json:"layers"`
	Warnings []Notice    `json:"warnings,omitempty"`
}

// LayerCost says how a layer travels.
type LayerCost struct {
	Digest digest.Digest `json:"digest"`
	// Size is that of the layer's blob, and Bytes what the delta has of it.
	Size  int64 `json:"size"`
	Bytes int64 `json:"bytes"`
	// As is "reused", "whole" or "diff".
	As string `json:"as"`
	// Generation says of a diff how the blob is compressed; empty: that is unknown, and
	// nobody can give back the very blob.
	Generation string `json:"generation,omitempty"`
	// TarBytes is the size of the tar that a diff makes. Same, Like and New are bytes of
	// it: of files as the reader has them, of files that are made from others, and all
	// else.
	TarBytes int64 `json:"tar_bytes,omitempty"`
	Same     int64 `json:"same_bytes,omitempty"`
	Like     int64 `json:"like_bytes,omitempty"`
	New      int64 `json:"new_bytes,omitempty"`
	// Files are the costliest ones of a diff, the first 1,000, if the request asks for
	// them.
	Files []FileCost `json:"files,omitempty"`
}

// FileCost says about how many bytes of a delta a file takes. All files of a layer, its
// headers and small files come to the delta's size together.
type FileCost struct {
	Path  string `json:"path"`
	Size  int64  `json:"size"`
	Bytes int64  `json:"bytes"`
}

// SaveDelta writes a delta below the file to w, see [archive.ExportDelta]. w may be nil:
// then nothing is written, and the result says what would be. The images are held by a
// lease meanwhile. After an error, what was written to w is incomplete.
func SaveDelta(ctx context.Context, e *engine.Engine, w io.Writer, req SaveDeltaRequest) (_ *SavedDelta, err error) {
	if len(req.Since) == 0 || len(req.Since) > delta.MaxSources {
		return nil, fmt.Errorf("save delta of %s: %d images that its reader has, of which there must be 1 to %d: %w", req.Image, len(req.Since), delta.MaxSources, errdefs.ErrInvalidArgument)
	}
	steps := progress.New(req.Progress)
	var saved *SavedDelta
	o := build.Options{Steps: steps, NoCache: req.NoCache, AllowEncrypted: true}
	err = build.Run(ctx, e, o, func(ctx context.Context, s *build.Session) error {
		saved, err = req.save(ctx, s, w)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("save delta of %s: %w", req.Image, err)
	}
	steps.End()
	return saved, nil
}

func (r SaveDeltaRequest) save(ctx context.Context, s *build.Session, w io.Writer) (_ *SavedDelta, err error) {
	img, since, err := r.images(ctx, s)
	if err != nil {
		return nil, err
	}
	spool, err := tempfile.Unnamed(s.Roots.Spool)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	var costs costs
	m := delta.Making{Image: img, Sources: since, Spool: spool}
	if r.Files {
		m.Measure = costs.measure
	}
	made, err := makeDelta(ctx, s, m)
	if err != nil {
		return nil, err
	}
	return r.write(ctx, s, w, made, &costs)
}

// makeDelta makes a delta of images of the engine.
func makeDelta(ctx context.Context, s *build.Session, m delta.Making) (*delta.Made, error) {
	s.Steps.Begin(Step{Kind: "delta", Of: m.Image.Name})
	s.Steps.Total(func() (int64, int64) { return 0, newBytes(m.Image, m.Sources) })
	m.Steps = s.Steps
	m.Open = func() (delta.Tree, error) {
		from, err := s.Roots.OpenSources(ctx, m.Sources)
		if err != nil {
			return nil, err
		}
		s.AtEnd(func(context.Context) error { return from.Close() })
		return from, nil
	}
	return delta.Make(ctx, s.Engine.Client.ContentStore(), m)
}

// write writes the archive, if there is a w, and returns what is in it.
func (r SaveDeltaRequest) write(ctx context.Context, s *build.Session, w io.Writer, made *delta.Made, costs *costs) (_ *SavedDelta, err error) {
	img := made.Image
	saved := &SavedDelta{Digest: img.Manifest.Digest}
	if full, err := content.Normalize(img.Name); err == nil && full == img.Name {
		saved.Name = full
	}
	plan, size, err := archive.PlanDelta(saved.Name, made)
	if err != nil {
		return nil, err
	}
	saved.Exported, saved.ArchiveBytes = *plan, size
	saved.describe(made, costs)
	if e := img.Encryption(); e.Any() {
		s.Warnings.Add(img.Name + ": " + e.Warning())
	}
	saved.Warnings = append(s.Warnings.All(), saved.warnings()...)
	if w == nil {
		return saved, nil
	}
	s.Steps.Begin(Step{Kind: "save", Of: img.Name})
	s.Steps.Total(func() (int64, int64) { return 0, size })
	_, err = archive.ExportDelta(ctx, s.Engine.Client.ContentStore(), s.Steps.Writer(w), saved.Name, made)
	return saved, err
}

// images finds the image, and those that the reader has, each once.
func (r SaveDeltaRequest) images(ctx context.Context, s *build.Session) (img *content.Image, since []*content.Image, err error) {
	if img, err = s.Base(ctx, r.Image, r.Platform); err != nil {
		return nil, nil, err
	}
	if img.IsScratch() {
		return nil, nil, fmt.Errorf("%s has no files: %w", content.ScratchName, errdefs.ErrInvalidArgument)
	}
	for _, ref := range r.Since {
		old, err := s.Base(ctx, ref, r.Platform)
		if err != nil {
			return nil, nil, err
		}
		if old.IsScratch() {
			return nil, nil, fmt.Errorf("%s has no files: %w", content.ScratchName, errdefs.ErrInvalidArgument)
		}
		if !slices.ContainsFunc(since, func(have *content.Image) bool { return have.Manifest.Digest == old.Manifest.Digest }) {
			since = append(since, old)
		}
	}
	return img, since, nil
}

// newBytes is the size of the layers that others lack.
func newBytes(img *content.Image, others []*content.Image) (n int64) {
	seen := map[digest.Digest]bool{}
	for _, other := range others {
		for _, l := range other.Layers {
			seen[l.Digest] = true
		}
	}
	for _, l := range img.Layers {
		if !seen[l.Digest] {
			seen[l.Digest] = true
			n += l.Size
		}
	}
	return n
}

// describe says how each layer travels.
func (s *SavedDelta) describe(made *delta.Made, costs *costs) {
	for i, l := range made.Layers {
		c := made.Costs[i]
		cost := LayerCost{
			Digest: l.Target.Digest, Size: l.Target.Size, Bytes: c.Bytes, As: kindText(l.Kind), Generation: string(l.Generation),
			TarBytes: c.Tar.Size, Same: c.Tar.Whole, Like: c.Tar.Like, New: c.Tar.New,
		}
		if l.Kind == delta.Diff && c.Bytes > 0 {
			cost.Files = costs.of(l.Target.Digest, c.Bytes)
		}
		if c.Bytes > 0 {
			s.LayerBytes += l.Target.Size
		}
		s.Layers = append(s.Layers, cost)
	}
}

func kindText(k delta.Kind) string {
	switch k {
	case delta.Reused:
		return "reused"
	case delta.Whole:
		return "whole"
	}
	return "diff"
}

// warnings are about layers that nobody can give back as they are.
func (s *SavedDelta) warnings() []Notice {
	var unknown []string
	for _, l := range s.Layers {
		if l.As == "diff" && l.Generation == "" && l.Bytes > 0 {
			unknown = append(unknown, l.Digest.String())
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return []Notice{fault.NoticeOf(&Error{Kind: ErrUnknownCompressor, Ref: s.Name, Err: fmt.Errorf(
		"it is not known what compressed layer %s: who applies the delta gets its files, and not the same blob", strings.Join(unknown, ", "))})}
}

// costs are those of files, by the layer.
type costs map[digest.Digest]*layerCosts

type layerCosts struct {
	files []FileCost
	all   int64
}

// measure is [delta.Making].Measure.
func (c *costs) measure(layer ocispec.Descriptor) func(path string, size, bytes int64) {
	if *c == nil {
		*c = map[digest.Digest]*layerCosts{}
	}
	l := &layerCosts{}
	(*c)[layer.Digest] = l
	return func(path string, size, bytes int64) {
		l.all += bytes
		if path == "" {
			return
		}
		l.files = append(l.files, FileCost{path, size, bytes})
		if len(l.files) == 2*maxCostly {
			l.cut()
		}
	}
}

// cut keeps the costliest files, in order.
func (l *layerCosts) cut() {
	slices.SortFunc(l.files, func(a, b FileCost) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Path, b.Path))
	})
	l.files = slices.Delete(l.files, min(len(l.files), maxCostly), len(l.files))
}

// of returns the costliest files of a layer, in shares of what its delta takes.
func (c *costs) of(layer digest.Digest, bytes int64) []FileCost {
	l := (*c)[layer]
	if l == nil {
		return nil
	}
	l.cut()
	for i, f := range l.files {
		l.files[i].Bytes = int64(float64(f.Bytes) / float64(l.all) * float64(bytes))
	}
	return l.files
}
