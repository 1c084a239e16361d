package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutTopLayer returns the size of the last layer of an image in an OCI layout (image-spec image-layout.md): what
// the tools store that keep their images outside containerd.
func layoutTopLayer(dir, tag string) (int64, error) {
	var index ocispec.Index
	if err := readJSONFile(filepath.Join(dir, "index.json"), &index); err != nil {
		return 0, err
	}
	for _, desc := range index.Manifests {
		if desc.Annotations[ocispec.AnnotationRefName] != tag {
			continue
		}
		var m ocispec.Manifest
		if err := readJSONFile(layoutBlob(dir, desc.Digest), &m); err != nil {
			return 0, err
		}
		if len(m.Layers) == 0 {
			return 0, fmt.Errorf("image %s in %s has no layers", tag, dir)
		}
		return m.Layers[len(m.Layers)-1].Size, nil
	}
	return 0, fmt.Errorf("find image %s in %s: it has no such name", tag, dir)
}

func layoutBlob(dir string, d digest.Digest) string {
	return filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func readJSONFile(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
