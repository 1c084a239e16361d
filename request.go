package veneer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/config"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// The types of requests, for callers that import only this package.
type (
	// TargetSpec is one thing that an image is to show, or to lack.
	TargetSpec = target.Spec
	// Op says what a target does.
	Op = differ.Op
	// CompareMode says when two regular files are the same.
	CompareMode = differ.CompareMode
	// Compression is a format of layers.
	Compression = layer.Compression
	// ConfigEdit edits an image's config.
	ConfigEdit = config.Edit
	// ReaderKind says how an image's files are read.
	ReaderKind = rootfs.Reader
	// ArchiveRef names an image in an archive or a layout.
	ArchiveRef = build.ArchiveRef
	// Progress is told how a verb goes on.
	Progress = progress.Progress
	// TotalProgress is a [Progress] that is told how much there is to do, too.
	TotalProgress = progress.Totals
	// Step is one step of a verb.
	Step = progress.Step
	// StepDuration is the wall time of one step.
	StepDuration = progress.Duration
)

// What targets do.
const (
	OpCopy   = differ.Copy
	OpSync   = differ.Sync
	OpDelete = differ.Delete
)

// When two regular files are the same.
const (
	CompareContent  = differ.CompareContent
	CompareMetadata = differ.CompareMetadata
)

// The formats of layers.
const (
	Gzip         = layer.Gzip
	Zstd         = layer.Zstd
	Uncompressed = layer.None
)

// The sources of targets.
const (
	SourceDir       = target.Dir
	SourceTar       = target.Tar
	SourceImage     = target.Image
	SourceContainer = target.Container
)

// The ways of reading an image.
const (
	ReadAuto  = rootfs.Auto
	ReadIndex = rootfs.Index
	ReadView  = rootfs.View
)

// StepCompare is the kind of the step that compares file trees. A build does most of
// its reading in it.
const StepCompare = progress.Compare

// DifferKind says who makes the layer.
type DifferKind string

// Veneer's own differ writes the layer and makes the snapshot of it. The service
// changes a mounted snapshot, and makes the layer of that.
const (
	DifferVeneer  DifferKind = ""
	DifferService DifferKind = "service"
)

func (d DifferKind) check() error {
	switch d {
	case DifferVeneer, DifferService:
		return nil
	}
	return fmt.Errorf("differ %q: want %q, or nothing for Veneer's own", string(d), DifferService)
}

// DefaultMaxLayers is how many layers a base may have before a build squashes
// it: half of what Docker mounts, and a fifth of what containerd does
// (docs/images.md, "Squashing").
const DefaultMaxLayers = 64

// maxLayers fills in the default of a request's MaxLayers.
func maxLayers(asked int) int { return cmp.Or(asked, DefaultMaxLayers) }

// TargetOptions say what files an image must show.
type TargetOptions struct {
	// Targets are applied in order; later ones win.
	Targets []TargetSpec
	// Compare says when two regular files are the same; empty:
	// [differ.CompareContent].
	Compare differ.CompareMode
	// ForceDelete allows a sync of the root directory that deletes base files.
	ForceDelete bool
	// Stdin is what the source "-" reads.
	Stdin io.Reader
}

func (o TargetOptions) checkTargets() error {
	for _, t := range o.Targets {
		if err := t.Check(); err != nil {
			return err
		}
	}
	return o.Compare.Check()
}

// ReadOptions say how images are read.
type ReadOptions struct {
	// Platform chooses from multi-platform images, as in "linux/arm64/v8"; empty
	// is the host's.
	Platform string
	// Reader says how files are read; [ReadAuto] takes the cheapest way that works.
	Reader ReaderKind
	// NoCache: indexes of layers and digests of source files are neither taken from
	// the cache nor kept in it.
	NoCache bool
}

// LayerOptions say how a layer is stored.
type LayerOptions struct {
	// Compression is gzip if it is empty. CompressionLevel 0 is the compression's
	// default.
	Compression      layer.Compression
	CompressionLevel int
	// Epoch is SOURCE_DATE_EPOCH: the image's creation time, and the latest time in
	// the layer. nil: the time of day, and files keep their times.
	Epoch *time.Time
}

// withDefaults fills in the defaults of layers, and checks them.
func (o LayerOptions) withDefaults() (LayerOptions, error) {
	if o.Compression == "" {
		o.Compression = layer.Gzip
	}
	return o, o.Compression.Check(o.CompressionLevel)
}

func (o LayerOptions) layer() build.LayerOptions {
	return build.LayerOptions{Compression: o.Compression, Level: o.CompressionLevel, Epoch: o.Epoch}
}

// ImageOptions say what a new image is, apart from its files.
type ImageOptions struct {
	// Tags are the names that the result gets. Without names the image is stored,
	// but garbage collection removes it later.
	Tags []string
	// Config edits the image's config.
	Config config.Edit
	// Annotations are set on the new manifest.
	Annotations map[string]string
	// Pin pins the names, see [Pin].
	Pin bool
	// NoUnpack: no snapshot is made.
	NoUnpack bool
	// AllowEncrypted allows a base with encrypted layers, and files from such
	// layers. The new layer is not encrypted.
	AllowEncrypted bool
}

// withDefaults returns the options with full names.
func (o ImageOptions) withDefaults() (ImageOptions, error) {
	o.Tags = slices.Clone(o.Tags)
	for i, tag := range o.Tags {
		name, err := content.NormalizeTag(tag)
		if err != nil {
			return o, err
		}
		o.Tags[i] = name
	}
	return o, o.Config.Validate()
}

// Reports say where progress and details go.
type Reports struct {
	// Progress is told of each step. nil: no reports.
	Progress Progress
	// Log gets details. nil: they are discarded.
	Log *slog.Logger
}

// checkBase refuses a request that names no base.
func checkBase(base string) error {
	if base == "" {
		return ErrNoBase
	}
	return nil
}

// checkMethod checks how the image is to be made: its fields must fit together.
func checkMethod(d DifferKind, reader ReaderKind, noUnpack bool) error {
	if d == DifferService && noUnpack {
		return fault.Mark(ErrService, errors.New("containerd's diff service makes the layer from the unpacked snapshot, which is not to be made"))
	}
	return errors.Join(d.check(), reader.Check())
}
