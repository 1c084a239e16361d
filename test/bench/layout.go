package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutTopLayer returns the size of the last layer of an image in an OCI layout: what the tools store that keep their
// images outside containerd.
func layoutTopLayer(dir, tag string) (int64, error) {
	m, err := layoutManifest(dir, tag)
	if err != nil {
		return 0, err
	}
	return m.Layers[len(m.Layers)-1].Size, nil
}

// layoutManifest reads the manifest of the image that an OCI layout (image-spec image-layout.md) has under a tag, or, without
// one, of its only image. It has layers.
func layoutManifest(dir, tag string) (*ocispec.Manifest, error) {
	var index ocispec.Index
	if err := readJSONFile(filepath.Join(dir, "index.json"), &index); err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(index.Manifests, func(desc ocispec.Descriptor) bool {
		return tag != "" && desc.Annotations[ocispec.AnnotationRefName] != tag
	})
	if len(found) != 1 {
		return nil, fmt.Errorf("find image %q in %s: it has %d of them", tag, dir, len(found))
	}
	m := new(ocispec.Manifest)
	if err := readJSONFile(layoutBlob(dir, found[0].Digest), m); err != nil {
		return nil, err
	}
	if len(m.Layers) == 0 {
		return nil, fmt.Errorf("image %q in %s has no layers", tag, dir)
	}
	return m, nil
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
