package veneer

import (
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
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// What requests are made of, for callers that import this package alone.
type (
	// TargetSpec is one --copy, --sync or --delete.
	TargetSpec = target.Spec
	// ReaderKind says how an image's files are read.
	ReaderKind = rootfs.Reader
	// ArchiveRef names an image that is in no engine.
	ArchiveRef = build.ArchiveRef
	// Progress follows a verb.
	Progress = progress.Progress
	// Step is one step of a verb.
	Step = progress.Step
	// StepDuration is the wall time of one step.
	StepDuration = progress.Duration
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

// StepCompare is the kind of the step that compares file trees, in which most of
// a build's reading is done.
const StepCompare = progress.Compare

// DifferKind says who makes the layer.
type DifferKind string

// The two orders of the method: layer first, or mounted snapshot first.
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

// TargetOptions say what files an image is to show.
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
	// NoCache neither uses nor writes what is remembered: indexes of layers and
	// digests of source files.
	NoCache bool
}

// LayerOptions say how a layer is stored.
type LayerOptions struct {
	// Compression is empty for gzip. CompressionLevel 0 is its default.
	Compression      layer.Compression
	CompressionLevel int
	// Epoch, when set, is the image's creation time and the upper bound of all
	// times in the layer (SOURCE_DATE_EPOCH).
	Epoch *time.Time
}

// withDefaults is where the defaults of layers are.
func (o LayerOptions) withDefaults() (LayerOptions, error) {
	if o.Compression == "" {
		o.Compression = layer.Gzip
	}
	return o, o.Compression.Check(o.CompressionLevel)
}

func (o LayerOptions) layer() build.LayerOptions {
	return build.LayerOptions{Compression: o.Compression, Level: o.CompressionLevel, Epoch: o.Epoch}
}

// ImageOptions say what a new image is to be, apart from its files.
type ImageOptions struct {
	// Tags are the names that the result gets. None: the image is stored but
	// nothing refers to it, so that garbage collection removes it later.
	Tags []string
	// Config edits the image's config.
	Config config.Edit
	// Annotations are set on the new manifest.
	Annotations map[string]string
	// NoUnpack leaves the snapshot out.
	NoUnpack bool
	// AllowEncrypted lets a layer, which is never encrypted, be made of files of
	// encrypted ones, and be put upon them.
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

// Reports say who is told of what is done.
type Reports struct {
	// Progress is told of each step; nil: nobody is.
	Progress Progress
	// Log is for details; nil discards.
	Log *slog.Logger
}

// checkBase refuses a request that names no base.
func checkBase(base string) error {
	if base == "" {
		return errors.New("no base image given; use --from NAME, or --from scratch")
	}
	return nil
}

// checkMethod finds what does not go together of the ways to make an image.
func checkMethod(d DifferKind, reader ReaderKind, noUnpack bool) error {
	if d == DifferService && noUnpack {
		return errors.New("--differ=service makes the layer from the unpacked snapshot and does not go with --no-unpack")
	}
	return errors.Join(d.check(), reader.Check())
}
