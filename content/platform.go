package content

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/internal/fault"
)

// An index may hold indexes (OCI image-spec image-index.md); real ones do so
// once. The bounds keep a hostile one from being walked for ever.
const (
	maxIndexDepth   = 4
	maxIndexEntries = 1000
)

// selectManifest picks the manifest of an index that fits the wanted platform
// best, in the order that containerd prefers (an exact variant before a
// compatible one), the first listed of equal ones.
func selectManifest(ctx context.Context, store cstore.Provider, target ocispec.Descriptor, want wanted) (ocispec.Descriptor, error) {
	all, err := Manifests(ctx, store, target)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var fit []ocispec.Descriptor
	for _, d := range all {
		if d.Platform != nil && want.match.Match(*d.Platform) {
			fit = append(fit, d)
		}
	}
	if len(fit) == 0 {
		return ocispec.Descriptor{}, fault.Mark(ErrPlatform, fmt.Errorf("no image for %s in it; it has %s: %w",
			platforms.FormatAll(want.spec), formatPlatforms(all), errdefs.ErrNotFound))
	}
	sort.SliceStable(fit, func(i, j int) bool { return want.match.Less(*fit[i].Platform, *fit[j].Platform) })
	return fit[0], nil
}

// Manifests returns the image manifests of an index and of the indexes in
// it, each with its platform where one is known. What is no image is left out,
// see [IsImage].
func Manifests(ctx context.Context, store cstore.Provider, target ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var (
		list  []ocispec.Descriptor
		count int
		walk  func(ocispec.Descriptor, int) error
	)
	walk = func(desc ocispec.Descriptor, depth int) error {
		if depth > maxIndexDepth {
			return fmt.Errorf("index %s: more than %d indexes within each other: %w", desc.Digest, maxIndexDepth, errdefs.ErrInvalidArgument)
		}
		idx, err := ReadIndex(ctx, store, desc)
		if errdefs.IsNotFound(err) && depth > 0 {
			return nil // another platform's, which this engine does not have
		}
		if err != nil {
			return err
		}
		if count += len(idx.Manifests); count > maxIndexEntries {
			return fmt.Errorf("index %s: more than %d entries: %w", target.Digest, maxIndexEntries, errdefs.ErrInvalidArgument)
		}
		for _, d := range idx.Manifests {
			switch {
			case images.IsIndexType(d.MediaType) && !IsAttestation(d):
				if err := walk(d, depth+1); err != nil {
					return err
				}
			case IsImage(ctx, store, d):
				d.Platform, err = listedPlatform(ctx, store, d)
				if err != nil {
					return err
				}
				list = append(list, d)
			}
		}
		return nil
	}
	return list, walk(target, 0)
}

// ReadIndex reads an image index or Docker manifest list and checks it.
func ReadIndex(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor) (*ocispec.Index, error) {
	data, err := readJSON(ctx, store, desc)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	idx, err := ParseIndex(data, desc)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", desc.Digest, err)
	}
	return idx, nil
}

// ReadArtifact reads the manifest of an artifact, such as an SBOM or a delta, and
// checks it. That of an image is read, too.
func ReadArtifact(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor) (*ocispec.Manifest, error) {
	data, err := readJSON(ctx, store, desc)
	if err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	m, err := parseArtifact(data, desc)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", desc.Digest, err)
	}
	return m, nil
}

// IsImage reports whether an index lists a manifest as an image. Attestations,
// and artifacts such as SBOMs and signatures, are none: an artifact's config is
// of a type of its own (OCI image-spec manifest.md, "Guidelines for Artifact
// Usage"). A manifest that is not stored, or is damaged, is an image unless its
// entry says otherwise, so that whoever reads it is told what is wrong.
func IsImage(ctx context.Context, store cstore.Provider, d ocispec.Descriptor) bool {
	if !images.IsManifestType(d.MediaType) || IsAttestation(d) {
		return false
	}
	data, err := readJSON(ctx, store, d)
	if err != nil {
		// Some tools write an image's config type there.
		return d.ArtifactType == "" || images.IsConfigType(d.ArtifactType)
	}
	var m struct {
		Config struct {
			MediaType string `json:"mediaType"`
		} `json:"config"`
	}
	if json.Unmarshal(data, &m) != nil || m.Config.MediaType == "" {
		return true
	}
	return images.IsConfigType(m.Config.MediaType)
}

// IsAttestation recognises what BuildKit hangs beside images in an index.
func IsAttestation(d ocispec.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" ||
		d.Platform != nil && (d.Platform.OS == "unknown" || d.Platform.Architecture == "unknown")
}

// listedPlatform is the platform that an index entry has, else its config's;
// nil where the entry has none and is not stored.
func listedPlatform(ctx context.Context, store cstore.Provider, d ocispec.Descriptor) (*ocispec.Platform, error) {
	if d.Platform != nil {
		return d.Platform, nil
	}
	data, err := readJSON(ctx, store, d)
	if err != nil {
		return nil, ignoreNotFound(err)
	}
	m, err := parseManifest(data, d)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	data, err = readJSON(ctx, store, m.Config)
	if err != nil {
		return nil, ignoreNotFound(err)
	}
	cfg, err := parseConfig(data, len(m.Layers))
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	return &cfg.Platform, nil
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
