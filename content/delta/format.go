package delta

import (
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/internal/recompress"
)

const (
	// ArtifactType is that of a delta.
	ArtifactType = artifactPrefix + "v1"
	// AnnotationName is in the index of an archive, of the delta: the image's full name,
	// as [content.Normalize] returns it.
	AnnotationName = "build.veneer.delta.name"

	artifactPrefix = "application/vnd.io.github.containers.oci-delta."
	filesType      = "application/vnd.build.veneer.delta.sources.v1+zstd"
)

// Annotations that oci-delta defines.
const (
	annotationContent      = "io.github.containers.delta.content"
	annotationTo           = "io.github.containers.delta.to"
	annotationTarget       = "io.github.containers.delta.target"
	annotationSource       = "io.github.containers.delta.source"
	annotationSourceConfig = "io.github.containers.delta.source-config"
	annotationReused       = "io.github.containers.delta.reused"
	annotationReusedDiffID = "io.github.containers.delta.reused-diff-id"
)

// Values of [annotationContent].
const (
	contentManifest = "image-manifest"
	contentConfig   = "image-config"
	contentLayer    = "image-layer"
	contentFiles    = "build.veneer.sources"
)

// Annotations that Veneer adds.
const (
	annotationSources    = "build.veneer.delta.sources"
	annotationGeneration = "build.veneer.delta.generation"
	annotationSize       = "build.veneer.delta.size"
)

const (
	// MaxSources is the number of sources that a delta may have. The files of each are
	// opened for whoever makes or applies it.
	MaxSources = 16
	// maxGeneration is the length of a generation's name. The known ones have 20 bytes.
	maxGeneration = 64
	// maxSourceName is the length of an image's name. Registries allow 255 bytes, a tag
	// of 128 and a digest.
	maxSourceName = 600
)

var (
	// ErrFormat is in the chain of errors about a delta that is damaged or hostile.
	ErrFormat = errors.New("bad delta")
	// ErrVersion is in the chain of errors about a delta of a later version.
	ErrVersion = errors.New("delta of an unknown version")
)

// Delta is what makes an image from others.
type Delta struct {
	// Image is the image that it makes. Of one that was read, Name and Record are empty,
	// and Missing is what the store lacked then.
	Image *content.Image
	// Sources are the images that it takes, at least one.
	Sources []Source
	// Layers are those of Image, in its order. A layer that Image has twice is there
	// twice.
	Layers []Layer
	// Files is the blob with the list of files that are read, see [ReadFiles]. It has no
	// digest if there is none.
	Files ocispec.Descriptor
}

// Source is an image that a delta takes layers and files from.
type Source struct {
	// Name is its full name where the delta was made; it may be empty.
	Name string `json:"name,omitempty"`
	// Manifest and Config are of the platform's image. Deltas of oci-delta may lack
	// the first.
	Manifest digest.Digest `json:"manifest"`
	Config   digest.Digest `json:"config"`
	// Chain is the chain ID of its snapshot. Deltas of oci-delta lack it.
	Chain digest.Digest `json:"chain,omitempty"`
}

// Kind says what a delta has of a layer.
type Kind int

const (
	// Reused is a layer that is not in the delta. A source has it.
	Reused Kind = iota
	// Whole is a layer that is in the delta as it is.
	Whole
	// Diff is a layer of which there is a delta.
	Diff
)

// Layer is a layer of the image that a delta makes.
type Layer struct {
	Kind Kind
	// Target is the layer as the image's manifest has it, and DiffID the digest of its
	// tar.
	Target ocispec.Descriptor
	DiffID digest.Digest
	// Blob is what the delta has of it. It is empty of a [Reused] layer. Of a [Whole]
	// one it is Target, except where oci-delta compressed it anew: then it has another
	// digest, and just the tar is the same.
	Blob ocispec.Descriptor
	// Generation compresses the tar of a [Diff] to Target; "": that is unknown. A later
	// Veneer may have written one that this one does not know.
	Generation recompress.Generation
	// Size is the number of bytes of a [Diff]'s tar; -1: that is unknown.
	Size int64
}
