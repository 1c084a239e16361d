package content

import (
	"context"
	"fmt"
	"slices"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/rawjson"
	"github.com/veneer-build/veneer/internal/fault"
)

// Image is one platform's image: a manifest and what it names. Every document
// in it was checked against its digest; the layer blobs were not read.
type Image struct {
	// Name is the record's name, or what stands for it where an ID was asked for.
	Name string
	// Record is the image record that led here; zero for scratch.
	Record images.Image
	// Manifest is zero for scratch.
	Manifest     ocispec.Descriptor
	ManifestJSON []byte
	ConfigJSON   []byte
	// ConfigDesc is the config's descriptor in the manifest; zero for scratch.
	ConfigDesc ocispec.Descriptor
	// Config is ConfigJSON parsed. It is for reading: it lacks the fields
	// that OCI does not know.
	Config  ocispec.Image
	Layers  []ocispec.Descriptor
	DiffIDs []digest.Digest
	// ChainID names the snapshot of all layers; empty where there are none.
	ChainID digest.Digest
	// Docker reports the media type family: Docker's, else OCI's.
	Docker bool
	// Missing are the layer blobs that the store does not have.
	Missing  []ocispec.Descriptor
	Platform ocispec.Platform
}

// Scratch returns the empty image for a platform. Nothing of it is stored.
func Scratch(p ocispec.Platform) *Image {
	cfg := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	// Neither can fail: both are plain structs of strings.
	configJSON, _ := rawjson.Encode(cfg)
	manifestJSON, _ := rawjson.Encode(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Layers:    []ocispec.Descriptor{},
	})
	return &Image{Name: ScratchName, ManifestJSON: manifestJSON, ConfigJSON: configJSON, Config: cfg, Platform: p}
}

// IsScratch reports whether this is the empty image.
func (i *Image) IsScratch() bool { return i.Manifest.Digest == "" }

// lacks reports whether the layer is one of the missing ones.
func (i *Image) lacks(layer digest.Digest) bool {
	return slices.ContainsFunc(i.Missing, func(m ocispec.Descriptor) bool { return m.Digest == layer })
}

// Resolve finds a stored image by what a user typed (see [ParseRef]; "scratch"
// is [Scratch]) and selects the platform, which is the host's if empty. The
// name as Docker normalises it comes first, then the name as typed, then the
// digests of the stored images. Of an image without an index the platform is
// checked only if one was asked for.
//
// An error wraps [errdefs.ErrNotFound] where the image, the platform or a
// document of it is not stored, and [ErrCorrupt] where it is damaged.
// Missing layer blobs are no error; see Image.Missing.
func Resolve(ctx context.Context, in Finder, ref, platform string) (*Image, error) {
	want, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	if ref == ScratchName {
		return Scratch(want.spec), nil
	}
	found, err := find(ctx, in, ref)
	if err != nil {
		return nil, err
	}
	img, err := selectImage(ctx, in.ContentStore(), found.target, want)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", found.record.Name, err)
	}
	img.Name, img.Record = found.record.Name, found.record
	return img, nil
}

// ResolveTarget is [Resolve] for a descriptor; the result has no name or record.
func ResolveTarget(ctx context.Context, store cstore.Store, target ocispec.Descriptor, platform string) (*Image, error) {
	want, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	return selectImage(ctx, store, target, want)
}

// wanted is the platform asked for.
type wanted struct {
	spec     ocispec.Platform
	match    platforms.MatchComparer
	explicit bool
}

func parsePlatform(platform string) (wanted, error) {
	if platform == "" {
		spec := platforms.DefaultSpec()
		return wanted{spec: spec, match: platforms.Only(spec)}, nil
	}
	spec, err := platforms.Parse(platform)
	if err != nil {
		return wanted{}, fmt.Errorf("parse platform %q: not of the form OS/ARCH[/VARIANT]: %w", platform, err)
	}
	return wanted{spec: spec, match: platforms.Only(spec), explicit: true}, nil
}

// selectImage walks an index down to the manifest of the wanted platform.
func selectImage(ctx context.Context, store cstore.Store, target ocispec.Descriptor, want wanted) (*Image, error) {
	if images.IsIndexType(target.MediaType) {
		desc, err := selectManifest(ctx, store, target, want)
		if err != nil {
			return nil, err
		}
		img, err := loadImage(ctx, store, desc)
		if errdefs.IsNotFound(err) {
			return nil, fault.Mark(ErrPlatformAbsent, fmt.Errorf("platform %s is listed, but its content is not in this engine: %w", formatPlatform(desc.Platform), err))
		}
		return img, err
	}
	img, err := loadImage(ctx, store, target)
	if err != nil {
		return nil, err
	}
	if want.explicit && img.Platform.OS != "" && !want.match.Match(img.Platform) {
		return nil, fault.Mark(ErrPlatform, fmt.Errorf("the image is for %s only, not for %s: %w", FormatPlatform(img.Platform), FormatPlatform(want.spec), errdefs.ErrNotFound))
	}
	return img, nil
}

// loadImage reads and checks a manifest and its config, and looks for the layers.
func loadImage(ctx context.Context, store cstore.Store, desc ocispec.Descriptor) (*Image, error) {
	switch {
	case desc.MediaType == images.MediaTypeDockerSchema1Manifest:
		return nil, errSchema1
	case !images.IsManifestType(desc.MediaType):
		return nil, fmt.Errorf("%s: %q is no image manifest: %w", desc.Digest, desc.MediaType, errdefs.ErrInvalidArgument)
	}
	manifestJSON, err := readJSON(ctx, store, desc)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := parseManifest(manifestJSON, desc)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	configJSON, err := readJSON(ctx, store, m.Config)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	cfg, err := parseConfig(configJSON, len(m.Layers))
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	img := &Image{
		Manifest:     ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Annotations: desc.Annotations},
		ManifestJSON: manifestJSON,
		ConfigJSON:   configJSON,
		ConfigDesc:   m.Config,
		Config:       *cfg,
		Layers:       m.Layers,
		DiffIDs:      cfg.RootFS.DiffIDs,
		Docker:       images.IsDockerType(desc.MediaType),
		Platform:     platformOf(cfg, desc.Platform),
	}
	if len(img.DiffIDs) > 0 {
		img.ChainID = identity.ChainID(img.DiffIDs)
	}
	img.Missing, err = missing(ctx, store, m.Layers)
	return img, err
}

// platformOf is the platform that an index lists an image for, which counts as
// it does for whoever chooses an image by it. What the index leaves out is the
// config's, and so is all where no index lists the image.
func platformOf(cfg *ocispec.Image, listed *ocispec.Platform) ocispec.Platform {
	if listed == nil || listed.OS == "" || listed.Architecture == "" {
		return cfg.Platform
	}
	p := *listed
	if p.OS != cfg.OS || p.Architecture != cfg.Architecture {
		return p
	}
	if p.Variant == "" {
		p.Variant = cfg.Variant
	}
	if p.OSVersion == "" {
		p.OSVersion = cfg.OSVersion
	}
	if len(p.OSFeatures) == 0 {
		p.OSFeatures = cfg.OSFeatures
	}
	return p
}

// missing returns those blobs that the store does not have.
func missing(ctx context.Context, store cstore.InfoProvider, blobs []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var absent []ocispec.Descriptor
	for _, b := range blobs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := store.Info(ctx, b.Digest)
		switch {
		case errdefs.IsNotFound(err):
			absent = append(absent, b)
		case err != nil:
			return nil, fmt.Errorf("look for layer %s: %w", b.Digest, err)
		case info.Size != b.Size:
			return nil, fmt.Errorf("layer %s: %d bytes, %d expected: %w", b.Digest, info.Size, b.Size, ErrCorrupt)
		}
	}
	return absent, nil
}

// FormatPlatform writes a platform as --platform takes it, with the version of
// the operating system where it has one.
func FormatPlatform(p ocispec.Platform) string { return platforms.FormatAll(p) }

func formatPlatform(p *ocispec.Platform) string {
	if p == nil {
		return "unknown"
	}
	return FormatPlatform(*p)
}

// formatPlatforms lists platforms for people.
func formatPlatforms(descs []ocispec.Descriptor) string {
	names := make([]string, len(descs))
	for i, d := range descs {
		names[i] = formatPlatform(d.Platform)
	}
	return strings.Join(names, ", ")
}
