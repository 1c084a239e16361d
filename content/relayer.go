package content

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/rawjson"
)

// Relayered makes an image of the same layers in other blobs: layers, of which there
// are as many, have the digests and sizes of these. It has another digest. It is not
// stored.
func Relayered(img *Image, layers []ocispec.Descriptor) (*Image, error) {
	m, err := rawjson.ParseKnown(img.ManifestJSON, manifestFields)
	if err != nil {
		return nil, fmt.Errorf("edit manifest of %s: %w", img.Name, err)
	}
	var entries []json.RawMessage
	err = m.Get("layers", &entries)
	if err == nil && len(entries) != len(layers) {
		err = fmt.Errorf("%d layers for %d: %w", len(layers), len(entries), errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return nil, fmt.Errorf("edit manifest of %s: %w", img.Name, err)
	}
	for i, l := range layers {
		if l.Digest == img.Layers[i].Digest {
			continue
		}
		entry, err := rawjson.ParseKnown(entries[i], entryFields)
		if err == nil {
			err = errors.Join(entry.Set("digest", l.Digest), entry.Set("size", l.Size))
		}
		if err != nil {
			return nil, fmt.Errorf("edit manifest of %s: %w", img.Name, err)
		}
		entry.Remove("urls") // they are of the other blob
		entry.Remove("data")
		if entries[i], err = rawjson.Encode(entry); err != nil {
			return nil, err
		}
	}
	if err := m.Set("layers", entries); err != nil {
		return nil, fmt.Errorf("edit manifest of %s: %w", img.Name, err)
	}
	manifestJSON, err := rawjson.Encode(m)
	if err != nil {
		return nil, err
	}
	return newImage(img, slices.Clone(layers), img.ConfigJSON, manifestJSON)
}
