package archive

import (
	"context"
	"fmt"
	"slices"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// The format of delta archives, see docs/deltas.md. An archive that this version
// would misread gets a higher version number.
const (
	annotationDelta = "build.veneer.delta"
	deltaVersion    = 1
)

// deltaNote is the value of [annotationDelta] in a layout's index.
type deltaNote struct {
	Version int    `json:"version"`
	Needs   []need `json:"needs"`
}

// need says what the reader of a delta archive must have for one of its manifests.
type need struct {
	// Target is the image's entry in the index: the manifest, or an index of it.
	Target   digest.Digest `json:"target"`
	Manifest digest.Digest `json:"manifest"`
	Platform string        `json:"platform,omitempty"`
	// Bases are the images that the layers are from.
	Bases []baseRef `json:"bases,omitempty"`
	// Layers are the image's layers that are not in the archive, the lowest first.
	Layers []neededLayer `json:"layers,omitempty"`
}

type baseRef struct {
	// Name is a full name, as [content.Normalize] returns it. It is empty if the
	// base has no such name.
	Name string `json:"name,omitempty"`
	// Digest is the digest that the name had when the archive was made.
	Digest digest.Digest `json:"digest"`
}

// neededLayer is a layer that the reader must have as a blob or in a snapshot.
type neededLayer struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Chain is the chain ID of the image's layers up to this one.
	Chain digest.Digest `json:"chain"`
}

// Base is an image that the reader of a delta archive has.
type Base struct {
	ref    baseRef
	layers map[digest.Digest]bool
}

// NewBase returns the layers of an image, of all platforms whose documents are
// stored. The layers themselves need not be stored. name is the image's full name,
// and target the descriptor in its record.
func NewBase(ctx context.Context, store cstore.Store, name string, target ocispec.Descriptor) (*Base, error) {
	b := &Base{ref: baseRef{Digest: target.Digest}, layers: map[digest.Digest]bool{}}
	if canonical(name) {
		b.ref.Name = name
	}
	manifests := []ocispec.Descriptor{target}
	if images.IsIndexType(target.MediaType) {
		var err error
		if manifests, err = content.Manifests(ctx, store, target); err != nil {
			return nil, fmt.Errorf("read base %s: %w", name, err)
		}
	}
	known := false
	for _, m := range manifests {
		img, err := content.ResolveTarget(ctx, store, m, "")
		if errdefs.IsNotFound(err) && len(manifests) > 1 {
			continue // a platform that is not here
		}
		if err != nil {
			return nil, fmt.Errorf("read base %s: %w", name, err)
		}
		known = true
		for _, l := range img.Layers {
			b.layers[l.Digest] = true
		}
	}
	if !known {
		return nil, fmt.Errorf("read base %s: no platform of it is here; pull it: %w", name, errdefs.ErrNotFound)
	}
	return b, nil
}

// canonical reports whether a name has the form in which Docker users write it, and
// is safe to print in a command.
func canonical(name string) bool {
	full, err := content.Normalize(name)
	return err == nil && full == name
}

// newNeed returns a need with those layers of an image that the bases have.
func newNeed(target ocispec.Descriptor, img *content.Image, since []*Base) need {
	n := need{Target: target.Digest, Manifest: img.Manifest.Digest, Platform: content.FormatPlatform(img.Platform)}
	for _, b := range since {
		if slices.ContainsFunc(img.Layers, func(l ocispec.Descriptor) bool { return b.layers[l.Digest] }) {
			n.Bases = append(n.Bases, b.ref)
		}
	}
	for i, l := range img.Layers {
		if slices.ContainsFunc(since, func(b *Base) bool { return b.layers[l.Digest] }) {
			n.Layers = append(n.Layers, neededLayer{l.Digest, l.Size, identity.ChainID(img.DiffIDs[:i+1])})
		}
	}
	return n
}

func (n need) has(d digest.Digest) bool {
	return slices.ContainsFunc(n.Layers, func(l neededLayer) bool { return l.Digest == d })
}
