package content

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/rawjson"
	"github.com/veneer-build/veneer/internal/words"
)

// MaxLayers bounds the layers of an image, and whatever else a manifest lists
// as such. Docker mounts 127 of them, and containerd some 300.
const MaxLayers = 1000

var errSchema1 = fmt.Errorf("it has a Docker schema 1 manifest, which is too old; build or convert it anew: %w", errdefs.ErrNotImplemented)

// The top-level fields that readers of these documents know. encoding/json
// takes a field in any case, other readers do not, so one that is written
// otherwise would mean different things to different tools.
var (
	manifestFields = []string{"schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations", "manifests", "fsLayers"}
	configFields   = []string{"created", "author", "architecture", "os", "os.version", "os.features", "variant", "config", "rootfs", "history"}
	entryFields    = []string{"mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"}
)

// checkDocument makes sure that data is what its descriptor's media type
// says, and nothing else at the same time (CVE-2021-41190).
func checkDocument(data []byte, desc ocispec.Descriptor) error {
	obj, err := rawjson.ParseKnown(data, manifestFields)
	if err != nil {
		return err
	}
	var mediaType string
	if err := obj.Get("mediaType", &mediaType); err != nil {
		return err
	}
	index, manifest := obj.Has("manifests"), obj.Has("layers") || obj.Has("config")
	isManifest, isIndex := images.IsManifestType(desc.MediaType), images.IsIndexType(desc.MediaType)
	switch {
	case obj.Has("fsLayers"), desc.MediaType == images.MediaTypeDockerSchema1Manifest:
		return errSchema1
	case mediaType != "" && mediaType != desc.MediaType:
		return fmt.Errorf("it calls itself %q, its descriptor %q: %w", mediaType, desc.MediaType, errdefs.ErrInvalidArgument)
	case index && manifest:
		return fmt.Errorf("it is an index and a manifest at once: %w", errdefs.ErrInvalidArgument)
	case isManifest && index, isIndex && manifest:
		return fmt.Errorf("it is not the %q that its descriptor promises: %w", desc.MediaType, errdefs.ErrInvalidArgument)
	case isManifest && !obj.Has("config"), isIndex && !index:
		return fmt.Errorf("it lacks what makes a %q: %w", desc.MediaType, errdefs.ErrInvalidArgument)
	}
	return checkEntries(obj)
}

// checkEntries does for the descriptors in a manifest or index what
// [rawjson.ParseKnown] does for the document.
func checkEntries(obj *rawjson.Object) error {
	var config json.RawMessage
	var layers, manifests []json.RawMessage
	if err := errors.Join(obj.Get("config", &config), obj.Get("layers", &layers), obj.Get("manifests", &manifests)); err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if len(layers) > MaxLayers {
		return fmt.Errorf("%d layers, more than %d: %w", len(layers), MaxLayers, errdefs.ErrInvalidArgument)
	}
	if len(manifests) > maxIndexEntries {
		return fmt.Errorf("%d entries, more than %d: %w", len(manifests), maxIndexEntries, errdefs.ErrInvalidArgument)
	}
	entries := slices.Concat(layers, manifests)
	if config != nil {
		entries = append(entries, config)
	}
	for _, raw := range entries {
		if _, err := rawjson.ParseKnown(raw, entryFields); err != nil {
			return fmt.Errorf("descriptor: %w", err)
		}
	}
	return nil
}

// parseManifest decodes and checks an image manifest
// (OCI image-spec manifest.md, Docker image manifest v2 schema 2).
func parseManifest(data []byte, desc ocispec.Descriptor) (*ocispec.Manifest, error) {
	if err := checkDocument(data, desc); err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	if !images.IsConfigType(m.Config.MediaType) {
		return nil, fmt.Errorf("no container image: its config is of type %q: %w", m.Config.MediaType, errdefs.ErrInvalidArgument)
	}
	if err := validDescriptor(m.Config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	for i, l := range m.Layers {
		if err := validDescriptor(l); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		if !images.IsLayerType(l.MediaType) {
			return nil, fmt.Errorf("layer %d: %q is no layer type: %w", i, l.MediaType, errdefs.ErrInvalidArgument)
		}
	}
	return &m, nil
}

// ParseIndex decodes and checks an image index or Docker manifest list, whose
// digest the caller has checked.
func ParseIndex(data []byte, desc ocispec.Descriptor) (*ocispec.Index, error) {
	if err := checkDocument(data, desc); err != nil {
		return nil, err
	}
	var idx ocispec.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, fmt.Errorf("parse index: %w", err)
	}
	for i, m := range idx.Manifests {
		if err := validDescriptor(m); err != nil {
			return nil, fmt.Errorf("manifest %d of index: %w", i, err)
		}
	}
	return &idx, nil
}

// parseArtifact decodes and checks the manifest of an artifact (OCI image-spec
// manifest.md, "Guidelines for Artifact Usage"). Its config and layers may be of any
// type.
func parseArtifact(data []byte, desc ocispec.Descriptor) (*ocispec.Manifest, error) {
	if err := checkDocument(data, desc); err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	all := append([]ocispec.Descriptor{m.Config}, m.Layers...)
	if m.Subject != nil {
		all = append(all, *m.Subject)
	}
	for _, d := range all {
		if err := validDescriptor(d); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

// parseConfig decodes and checks an image config that goes with a manifest of
// so many layers (OCI image-spec config.md).
func parseConfig(data []byte, layers int) (*ocispec.Image, error) {
	if _, err := rawjson.ParseKnown(data, configFields); err != nil {
		return nil, err
	}
	var cfg ocispec.Image
	if err := json.Unmarshal(data, &cfg); err != nil {
		return nil, fmt.Errorf("parse config: %w", err)
	}
	if n := len(cfg.RootFS.DiffIDs); n != layers {
		return nil, fmt.Errorf("the config has %s, the manifest %s: %w", words.Count(n, "diff ID", "diff IDs"), words.Count(layers, "layer", "layers"), errdefs.ErrInvalidArgument)
	}
	if err := validDigests(cfg.RootFS.DiffIDs); err != nil {
		return nil, fmt.Errorf("diff IDs: %w", err)
	}
	return &cfg, nil
}

func validDigests(ds []digest.Digest) error {
	for i, d := range ds {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("number %d, %q: %w", i, d, err)
		}
	}
	return nil
}
