package content

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/rawjson"
	"github.com/veneer-build/veneer/internal/fault"
)

// Assembly says what a new image is made of. Base, ConfigJSON and Created are
// required.
type Assembly struct {
	Base *Image
	// ConfigJSON is the base's config with the user's edits; Assemble sets
	// its rootfs, history and created.
	ConfigJSON []byte
	// Layer is the new layer and DiffID its uncompressed digest; nil: there is none.
	Layer  *ocispec.Descriptor
	DiffID digest.Digest
	// History describes the new step; Assemble sets its Created and EmptyLayer.
	History ocispec.History
	// Created is the image's time of creation, written in UTC.
	Created time.Time
	// Annotations are set on the manifest.
	Annotations map[string]string
	// BaseName and BaseDigest go into the annotations that OCI has for them
	// (image-spec annotations.md); empty for scratch.
	BaseName   string
	BaseDigest digest.Digest
}

// Assemble makes the config and the manifest. Both are edited, not rebuilt:
// what Veneer does not know of the base's survives with its bytes and place.
// Media types are of the base's family. Same input, same bytes.
//
// The image is as [Resolve] would return it, but for a name and a record; it is
// not stored, see [Store].
//
// Of the base's manifest, subject and artifactType are dropped: the first
// would make the new image an attachment of what the base is attached to, the
// second says what an artifact is that the new image no longer is. Its
// annotations stay, apart from those that name the base's own base.
//
// Docker's manifest has no annotations: there, the ones that name the base are
// left out, and asking for others is an error that wraps
// [errdefs.ErrInvalidArgument], as is a layer whose media type is of the
// other family or zstd, which Docker's family does not have.
func Assemble(a Assembly) (*Image, error) {
	if a.Layer != nil {
		if err := checkNewLayer(a); err != nil {
			return nil, err
		}
	}
	if a.Base.Docker && len(a.Annotations) > 0 {
		return nil, fault.Mark(ErrNoAnnotations, fmt.Errorf("annotate image: the base %s is of Docker's format, which has no annotations: %w", a.Base.Name, errdefs.ErrInvalidArgument))
	}
	layers, diffIDs := slices.Clone(a.Base.Layers), slices.Clone(a.Base.DiffIDs)
	if a.Layer != nil {
		layers, diffIDs = append(layers, *a.Layer), append(diffIDs, a.DiffID)
	}
	configJSON, err := assembleConfig(a, diffIDs)
	if err != nil {
		return nil, fmt.Errorf("assemble config: %w", err)
	}
	manifestJSON, err := assembleManifest(a, describe(configType(a.Base.Docker), configJSON))
	if err != nil {
		return nil, fmt.Errorf("assemble manifest: %w", err)
	}
	return newImage(a.Base, layers, configJSON, manifestJSON)
}

// newImage is an image made of another one: with so many of its layers, or one
// more. The documents are read as [Resolve] will.
func newImage(of *Image, layers []ocispec.Descriptor, configJSON, manifestJSON []byte) (*Image, error) {
	if max(len(configJSON), len(manifestJSON)) > maxJSON {
		return nil, fmt.Errorf("assembled image: its config or manifest is larger than %d bytes: %w", maxJSON, errdefs.ErrInvalidArgument)
	}
	manifest := describe(manifestType(of.Docker), manifestJSON)
	m, err := parseManifest(manifestJSON, manifest)
	if err != nil {
		return nil, fmt.Errorf("assembled manifest: %w", err)
	}
	cfg, err := parseConfig(configJSON, len(m.Layers))
	if err != nil {
		return nil, fmt.Errorf("assembled config: %w", err)
	}
	img := &Image{
		Name: of.Name, Manifest: manifest, ManifestJSON: manifestJSON, ConfigJSON: configJSON, ConfigDesc: m.Config, Config: *cfg,
		Layers: layers, DiffIDs: cfg.RootFS.DiffIDs, Docker: of.Docker, Platform: of.Platform,
	}
	if len(img.DiffIDs) > 0 {
		img.ChainID = identity.ChainID(img.DiffIDs)
	}
	for _, l := range layers {
		if of.lacks(l.Digest) {
			img.Missing = append(img.Missing, l)
		}
	}
	return img, nil
}

// LayerMediaType returns the media type of a layer in an image of Docker's or
// OCI's family; compression is "gzip", "zstd" or "none".
func LayerMediaType(docker bool, compression string) (string, error) {
	switch {
	case compression == "gzip" && docker:
		return images.MediaTypeDockerSchema2LayerGzip, nil
	case compression == "gzip":
		return ocispec.MediaTypeImageLayerGzip, nil
	case compression == "none" && docker:
		return images.MediaTypeDockerSchema2Layer, nil
	case compression == "none":
		return ocispec.MediaTypeImageLayer, nil
	case compression == "zstd" && docker:
		return "", fault.Mark(ErrNoZstd, errDockerZstd)
	case compression == "zstd":
		return ocispec.MediaTypeImageLayerZstd, nil
	}
	return "", fmt.Errorf("compression %q: not gzip, zstd or none: %w", compression, errdefs.ErrInvalidArgument)
}

var errDockerZstd = fmt.Errorf("the base is of Docker's format, which has no zstd layers: %w", errdefs.ErrInvalidArgument)

func checkNewLayer(a Assembly) error {
	if err := validDescriptor(*a.Layer); err != nil {
		return fmt.Errorf("new layer: %w", err)
	}
	if err := a.DiffID.Validate(); err != nil {
		return fmt.Errorf("new layer: diff ID %q: %w", a.DiffID, err)
	}
	mt := a.Layer.MediaType
	if a.Base.Docker && (mt == ocispec.MediaTypeImageLayerZstd || mt == images.MediaTypeDockerSchema2LayerZstd) {
		return errDockerZstd
	}
	if !images.IsLayerType(mt) || images.IsDockerType(mt) != a.Base.Docker {
		return fmt.Errorf("new layer: media type %q does not go with the base's %q: %w", mt, manifestType(a.Base.Docker), errdefs.ErrInvalidArgument)
	}
	return nil
}

func assembleConfig(a Assembly, diffIDs []digest.Digest) ([]byte, error) {
	cfg, err := rawjson.ParseKnown(a.ConfigJSON, configFields)
	if err != nil {
		return nil, err
	}
	rootfs, err := cfg.Sub("rootfs")
	if err != nil {
		return nil, err
	}
	if diffIDs == nil {
		diffIDs = []digest.Digest{} // null is not valid there
	}
	history, err := assembleHistory(a, cfg)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		cfg.Set("created", a.Created.UTC()),
		rootfs.Set("type", "layers"),
		rootfs.Set("diff_ids", diffIDs),
		cfg.Set("rootfs", rootfs),
		cfg.Set("history", history),
	); err != nil {
		return nil, err
	}
	return rawjson.Encode(cfg)
}

// assembleHistory returns the base's history, made to fit its layers, and the
// new step. Readers match the entries that are not marked empty with layers,
// in order. So where a base has too few of them, the gap is filled before our
// entry, or that would describe a layer of the base; and surplus ones are
// marked empty, or the image would be invalid. BuildKit does both likewise.
func assembleHistory(a Assembly, cfg *rawjson.Object) ([]json.RawMessage, error) {
	var history []json.RawMessage
	if err := cfg.Get("history", &history); err != nil {
		return nil, err
	}
	layers := 0
	for i, raw := range history {
		var h ocispec.History
		if err := json.Unmarshal(raw, &h); err != nil {
			return nil, fmt.Errorf("history entry %d: %w", i, err)
		}
		if h.EmptyLayer {
			continue
		}
		if layers < len(a.Base.Layers) {
			layers++
			continue
		}
		entry, err := rawjson.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("history entry %d: %w", i, err)
		}
		if err := entry.Set("empty_layer", true); err != nil {
			return nil, err
		}
		if history[i], err = rawjson.Encode(entry); err != nil {
			return nil, err
		}
	}
	for ; layers < len(a.Base.Layers); layers++ {
		raw, err := rawjson.Encode(ocispec.History{Comment: "layer without history in the base image"})
		if err != nil {
			return nil, err
		}
		history = append(history, raw)
	}
	created := a.Created.UTC()
	step := a.History
	step.Created, step.EmptyLayer = &created, a.Layer == nil
	raw, err := rawjson.Encode(step)
	if err != nil {
		return nil, err
	}
	return append(history, raw), nil
}

func assembleManifest(a Assembly, config ocispec.Descriptor) ([]byte, error) {
	m, err := rawjson.ParseKnown(a.Base.ManifestJSON, manifestFields)
	if err != nil {
		return nil, err
	}
	layers := []json.RawMessage{}
	if err := m.Get("layers", &layers); err != nil {
		return nil, err
	}
	if a.Layer != nil {
		raw, err := rawjson.Encode(a.Layer)
		if err != nil {
			return nil, err
		}
		layers = append(layers, raw)
	}
	m.Remove("subject")
	m.Remove("artifactType")
	if err := errors.Join(
		m.Set("schemaVersion", 2),
		m.Set("mediaType", manifestType(a.Base.Docker)),
		m.Set("config", config), // whole: the old one may embed the old config as data
		m.Set("layers", layers),
		setAnnotations(m, a),
	); err != nil {
		return nil, err
	}
	return rawjson.Encode(m)
}

// setAnnotations merges: the base's, then those that name the base, then the
// user's, who may override them.
func setAnnotations(m *rawjson.Object, a Assembly) error {
	var annotations map[string]string
	if err := m.Get("annotations", &annotations); err != nil {
		return err
	}
	had := len(annotations) > 0
	delete(annotations, ocispec.AnnotationBaseImageName)
	delete(annotations, ocispec.AnnotationBaseImageDigest)
	if annotations == nil {
		annotations = map[string]string{}
	}
	if !a.Base.Docker {
		if a.BaseName != "" {
			annotations[ocispec.AnnotationBaseImageName] = a.BaseName
		}
		if a.BaseDigest != "" {
			annotations[ocispec.AnnotationBaseImageDigest] = a.BaseDigest.String()
		}
	}
	maps.Copy(annotations, a.Annotations)
	if len(annotations) == 0 {
		if had {
			m.Remove("annotations")
		}
		return nil
	}
	return m.Set("annotations", annotations)
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func manifestType(docker bool) string {
	if docker {
		return images.MediaTypeDockerSchema2Manifest
	}
	return ocispec.MediaTypeImageManifest
}

func configType(docker bool) string {
	if docker {
		return images.MediaTypeDockerSchema2Config
	}
	return ocispec.MediaTypeImageConfig
}
