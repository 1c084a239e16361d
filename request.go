// Package veneer builds container images as a base image plus one thin layer
// that holds only what differs, straight into containerd or into the same
// stores opened in-process.
//
// [Build] reads like the method: resolve the base, compare the targets with
// it, write the layer, apply it to a snapshot, record the image.
package veneer

import (
	"io"
	"log/slog"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/layer"
)

// Request says what to build. The zero value of every field is its default.
type Request struct {
	// Base is the image built upon: a name as Docker users would type it, a
	// digest, or "scratch".
	Base string
	// Platform chooses from a multi-platform base, as in "linux/arm64/v8";
	// empty is the host's.
	Platform string
	// Platforms, if there are any, make the result an index with an image for
	// each, "all" for each that the base has: see [Result].Manifests. Platform is
	// empty then, and only the host's platform is unpacked.
	Platforms []string
	// Targets are applied in order; later ones win.
	Targets []TargetSpec
	// Config edits the base's image config.
	Config content.ConfigEdit
	// Annotations are set on the new manifest.
	Annotations map[string]string
	// Tags are the names that the result gets. None: the image is stored but
	// nothing refers to it, so that garbage collection removes it later.
	Tags []string
	// Compare says when two regular files are the same.
	Compare differ.CompareMode
	// Compression and CompressionLevel are the layer's; level 0 is the default.
	Compression      layer.Compression
	CompressionLevel int
	// NoUnpack leaves the snapshot out.
	NoUnpack bool
	// Differ is DifferVeneer (default) or DifferService.
	Differ DifferKind
	// Reader says how the base is read; ReadAuto takes the index where the
	// layer blobs are here, else a view of the snapshot.
	Reader ReaderKind
	// Epoch, when set, is the image's creation time and the upper bound of all
	// times in the layer (SOURCE_DATE_EPOCH).
	Epoch *time.Time
	// ForceDelete allows a sync of the root directory that deletes base files.
	ForceDelete bool
	// NoCache neither uses nor writes what is remembered between builds: indexes
	// of layers and digests of source files.
	NoCache bool
	// AllowEncrypted lets a layer, which is never encrypted, be made of files of
	// encrypted ones, and be put upon them.
	AllowEncrypted bool
	// Stdin is what the source "-" reads.
	Stdin io.Reader
	// MaxLayers is how many layers a base may have before what Veneer put upon
	// the original base is stored again as one layer, with what differs now: so
	// no chain of builds grows for ever. 0 is [DefaultMaxLayers], negative no limit.
	MaxLayers int
	// Progress is told of each step; nil: nobody is.
	Progress Progress
	// Log is never nil after defaults; nil discards.
	Log *slog.Logger
}

// DifferKind says who makes the layer.
type DifferKind string

// The two orders of DESIGN: layer first, or mounted snapshot first.
const (
	DifferVeneer  DifferKind = ""
	DifferService DifferKind = "service"
)

// ReaderKind says how the base's files are read.
type ReaderKind string

// The ways of reading the base.
const (
	ReadAuto  ReaderKind = ""
	ReadIndex ReaderKind = "index"
	ReadView  ReaderKind = "view"
)

// The sources of targets.
const (
	// SourceDir is any path on this host, also a single file.
	SourceDir = "dir"
	// SourceTar is an archive, compressed or not.
	SourceTar = "tar"
	// SourceImage is a path in an image of the engine, for the base's platform.
	SourceImage = "image"
	// SourceContainer is a path in a container's root file system, as it is now.
	SourceContainer = "container"
)

// TargetSpec is one --copy, --sync or --delete, not yet opened.
type TargetSpec struct {
	Op differ.Op
	// Type says what the source is; empty: [SourceDir].
	Type string
	// Source is a path on this host, or "-" for standard input (Type "tar"), or
	// a path in the root file system that Ref names. {{.OS}}, {{.Arch}} and
	// {{.Variant}} in it stand for the platform that is built.
	Source string
	// Ref is the image or the container that files are taken from (Types "image"
	// and "container"; see [CommitRequest] for what names a container).
	Ref string
	// NoPause reads a container while it runs; else it is paused meanwhile.
	NoPause bool
	// Dest is the path in the image, as typed: a trailing slash is kept, since
	// it says that the destination is a directory.
	Dest string
	// Chown is USER[:GROUP], names or numbers; names are looked up in the
	// base's own /etc/passwd and /etc/group.
	Chown string
	// Chmod is octal or symbolic, as chmod(1) takes it.
	Chmod string
	// Owner is "base", "source" or "root"; empty: base for directories, source for all else.
	Owner string
	// Exclude are .dockerignore patterns; IgnoreFile is a file of them,
	// relative to the source directory if it is not absolute.
	Exclude    []string
	IgnoreFile string
	// Only are paths of the source: what is neither at nor below one of them is
	// excluded. None: everything takes part.
	Only []string
	// DirLinks is "follow", "replace" or "error": what to do where the source
	// has a directory and the base a symbolic link to one. Empty: follow for
	// copy, error for sync.
	DirLinks string
}

// StepCompare is the kind of the step that compares file trees, in which most of
// a build's reading is done.
const StepCompare = "compare"

// Step is one step of what is done.
type Step struct {
	// Kind is one word: "resolve", [StepCompare], "layer", "snapshot", "record",
	// "unpack", ….
	Kind string
	// Of is what the step is about, where its kind does not say it: an image's
	// name, or what the image is for.
	Of string
	// Platform is set where the same is done for several platforms.
	Platform string
}

// String is the step's name for people, as in "compare linux/arm64".
func (s Step) String() string {
	name := s.Kind
	for _, more := range []string{s.Of, s.Platform} {
		if more != "" {
			name += " " + more
		}
	}
	return name
}

// Progress follows a build. Its methods are called from several goroutines.
type Progress interface {
	// Step starts a step and ends the one before.
	Step(s Step)
	// Count adds to the running step's counters.
	Count(files, bytes int64)
	// Done ends the last step.
	Done()
}

// Result tells what was built.
type Result struct {
	// Digest is the image's: what Target in its record has.
	Digest digest.Digest `json:"digest"`
	// Target is the descriptor that the image records point at.
	Target ocispec.Descriptor `json:"target"`
	Names  []string           `json:"names,omitempty"`
	// Base is the base's normalised name, and its manifest's digest.
	Base       string        `json:"base"`
	BaseDigest digest.Digest `json:"base_digest,omitempty"`
	Platform   string        `json:"platform"`
	// Manifests are the images that Request.Platforms asks for, in the index's
	// order; Digest and Target are the index's then, and the rest sums up.
	Manifests []*Result `json:"manifests,omitempty"`
	// Layer is nil where nothing changed.
	Layer *LayerResult `json:"layer,omitempty"`
	// Unchanged: the names point at the base's own manifest.
	Unchanged bool `json:"unchanged"`
	// Squashed is how many of the base's layers became part of the new one.
	Squashed int           `json:"squashed_layers,omitempty"`
	ChainID  digest.Digest `json:"chain_id,omitempty"`
	Unpacked bool          `json:"unpacked"`
	// Pushable: it can be pushed somewhere; the warnings say where to.
	Pushable bool           `json:"pushable"`
	Changes  differ.Summary `json:"changes"`
	Warnings []string       `json:"warnings,omitempty"`
	// Notes tell of what may not have been meant.
	Notes   []string       `json:"notes,omitempty"`
	Steps   []StepDuration `json:"steps"`
	Seconds float64        `json:"seconds"`
}

// LayerResult describes the new layer.
type LayerResult struct {
	Digest           digest.Digest `json:"digest"`
	DiffID           digest.Digest `json:"diff_id"`
	MediaType        string        `json:"media_type"`
	Size             int64         `json:"size"`
	UncompressedSize int64         `json:"uncompressed_size"`
}

// StepDuration is the wall time of one step. Name is the whole [Step.String].
type StepDuration struct {
	Name     string  `json:"name"`
	Kind     string  `json:"kind"`
	Platform string  `json:"platform,omitempty"`
	Seconds  float64 `json:"seconds"`
}
