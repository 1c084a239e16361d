package veneer

import (
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/differ"
)

// Summary counts the changes of a result.
type Summary = differ.Summary

// Result tells what was built.
type Result struct {
	// Digest is the image's digest, the same as Target's.
	Digest digest.Digest `json:"digest"`
	// Target is the descriptor that the image records point at.
	Target ocispec.Descriptor `json:"target"`
	Names  []string           `json:"names,omitempty"`
	// Base is the base's normalised name, and its manifest's digest.
	Base       string        `json:"base"`
	BaseDigest digest.Digest `json:"base_digest,omitempty"`
	Platform   string        `json:"platform"`
	// Manifests are the images for [BuildRequest].Platforms, in the index's order.
	// Digest and Target are then the index's, and other fields are sums.
	Manifests []*Result `json:"manifests,omitempty"`
	// Layer is nil if no file differs.
	Layer *LayerResult `json:"layer,omitempty"`
	// Unchanged: the names point at the base's own manifest.
	Unchanged bool `json:"unchanged"`
	// Squashed is how many of the base's layers became part of the new layer.
	Squashed int           `json:"squashed_layers,omitempty"`
	ChainID  digest.Digest `json:"chain_id,omitempty"`
	Unpacked bool          `json:"unpacked"`
	// Pushable: the image can be pushed. If not to every registry, a warning says
	// where to.
	Pushable bool           `json:"pushable"`
	Changes  differ.Summary `json:"changes"`
	Warnings []Notice       `json:"warnings,omitempty"`
	// Notes point out what the user may not have meant.
	Notes []Notice `json:"notes,omitempty"`
	// Dockerfile is set where one was built.
	Dockerfile *DockerfileResult `json:"dockerfile,omitempty"`

	Steps   []StepDuration `json:"steps"`
	Seconds float64        `json:"seconds"`

	// made says what it was made of, and same that this is what was made before: then
	// there is no image.
	made made
	same bool
}

// DockerfileResult tells how a Dockerfile was built.
type DockerfileResult struct {
	// Images are those that its stages begin with, Steps its COPY, ADD, WORKDIR and
	// RUN, and Cached those of Steps that an earlier build had done.
	Images int `json:"images"`
	Steps  int `json:"steps"`
	Cached int `json:"cached"`
	// Layers are those of the steps that changed something; none, if the result was
	// compared with an image instead.
	Layers []LayerResult `json:"layers,omitempty"`
	// StepBytes are those of the files that the steps wrote, not compressed: what is
	// stored for them unless the result is compared with an image.
	StepBytes int64 `json:"step_bytes"`
	// Done are all steps, those of several platforms too, in the order in which they
	// began. They are not in the JSON, most of which they would be.
	Done []DockerfileStep `json:"-"`
}

// LayerResult describes the new layer.
type LayerResult struct {
	Digest           digest.Digest `json:"digest"`
	DiffID           digest.Digest `json:"diff_id"`
	MediaType        string        `json:"media_type"`
	Size             int64         `json:"size"`
	UncompressedSize int64         `json:"uncompressed_size"`
}
