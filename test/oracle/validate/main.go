// Command validate checks all images of an OCI layout, or the one that is named, with go-containerregistry's
// validator: every digest, size, diff ID and media type is derived again from the stored bytes.
package main

import (
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: validate LAYOUT [MANIFEST-DIGEST]")
		os.Exit(2)
	}
	if err := check(os.Args[1], append(os.Args, "")[2]); err != nil {
		fmt.Fprintln(os.Stderr, "validate:", err)
		os.Exit(1)
	}
}

func check(dir, manifest string) error {
	path, err := layout.FromPath(dir)
	if err != nil {
		return err
	}
	if manifest == "" {
		index, err := path.ImageIndex()
		if err != nil {
			return err
		}
		return validate.Index(index)
	}
	hash, err := v1.NewHash(manifest)
	if err != nil {
		return err
	}
	img, err := path.Image(hash)
	if err != nil {
		return err
	}
	return validate.Image(img)
}
