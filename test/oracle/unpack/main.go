// Command unpack writes the root file system of an image in an OCI layout to a directory, with umoci's layer unpacker:
// a second opinion, none of whose code Veneer uses, on what the layers mean.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/opencontainers/umoci/oci/layer"
)

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: unpack LAYOUT ROOTFS [MANIFEST-DIGEST]")
		os.Exit(2)
	}
	if err := unpack(os.Args[1], os.Args[2], append(os.Args, "")[3]); err != nil {
		fmt.Fprintln(os.Stderr, "unpack:", err)
		os.Exit(1)
	}
}

func unpack(dir, rootfs, manifest string) error {
	img, err := open(dir, manifest)
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return err
	}
	for i, l := range layers {
		if err := unpackLayer(rootfs, l); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return nil
}

// open returns the image with the manifest's digest, or the only one in the layout.
func open(dir, manifest string) (v1.Image, error) {
	path, err := layout.FromPath(dir)
	if err != nil {
		return nil, err
	}
	if manifest != "" {
		hash, err := v1.NewHash(manifest)
		if err != nil {
			return nil, err
		}
		return path.Image(hash)
	}
	index, err := path.ImageIndex()
	if err != nil {
		return nil, err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(list.Manifests) != 1 || !list.Manifests[0].MediaType.IsImage() {
		return nil, fmt.Errorf("%s holds %d manifests, not one of an image: name its digest", dir, len(list.Manifests))
	}
	return path.Image(list.Manifests[0].Digest)
}

func unpackLayer(rootfs string, l v1.Layer) (err error) {
	data, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	if err := layer.UnpackLayer(rootfs, data, &layer.UnpackOptions{}); err != nil {
		return err
	}
	// What follows the end of the archive still counts for the digest, which Close checks.
	_, err = io.Copy(io.Discard, data)
	return err
}
