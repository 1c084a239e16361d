package content

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/rawjson"
)

// Composition is a new image with all its parts given, where [Assembly] has a
// base and adds to it.
type Composition struct {
	// ConfigJSON is the config; its rootfs, history and created are set.
	ConfigJSON []byte
	// Layers and their uncompressed digests, the lowest first.
	Layers  []ocispec.Descriptor
	DiffIDs []digest.Digest
	// Missing are those of the layers that are not stored.
	Missing []ocispec.Descriptor
	// History is of as many steps that are not marked empty as there are layers.
	History []ocispec.History
	Created time.Time
	// Docker is the family of media types: Docker's, else OCI's.
	Docker      bool
	Platform    ocispec.Platform
	Annotations map[string]string
}

// Compose makes the config and the manifest of an image. As with [Assemble],
// the same input gives the same bytes, and nothing is stored.
func Compose(c Composition) (*Image, error) {
	if len(c.Layers) != len(c.DiffIDs) {
		return nil, fmt.Errorf("compose image: %d layers, and %d digests of their content", len(c.Layers), len(c.DiffIDs))
	}
	if c.Docker && len(c.Annotations) > 0 {
		return nil, errors.New("annotate image: the base is of Docker's format, which has no annotations; use labels")
	}
	configJSON, err := composeConfig(c)
	if err != nil {
		return nil, fmt.Errorf("compose config: %w", err)
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifestType(c.Docker), Config: describe(configType(c.Docker), configJSON),
		Layers: append([]ocispec.Descriptor{}, c.Layers...), Annotations: c.Annotations,
	}
	manifestJSON, err := rawjson.Encode(m)
	if err != nil {
		return nil, fmt.Errorf("compose manifest: %w", err)
	}
	return newImage(&Image{Docker: c.Docker, Platform: c.Platform, Missing: c.Missing}, c.Layers, configJSON, manifestJSON)
}

func composeConfig(c Composition) ([]byte, error) {
	cfg, err := rawjson.ParseKnown(c.ConfigJSON, configFields)
	if err != nil {
		return nil, err
	}
	layers := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			layers++
		}
	}
	if layers != len(c.Layers) {
		return nil, fmt.Errorf("the history tells of %d layers, and there are %d", layers, len(c.Layers))
	}
	rootfs := ocispec.RootFS{Type: "layers", DiffIDs: append([]digest.Digest{}, c.DiffIDs...)}
	if err := errors.Join(cfg.Set("created", c.Created.UTC()), cfg.Set("rootfs", rootfs), cfg.Set("history", c.History)); err != nil {
		return nil, err
	}
	return rawjson.Encode(cfg)
}
