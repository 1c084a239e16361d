package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/veneer-build/veneer"
)

// imageHelp says what inspect and history take besides the engine's images.
const imageHelp = `IMAGE may also be registry:HOST/NAME or docker://NAME, which is read from its
registry without its layers, or archive:FILE or oci:DIR (an image archive or an OCI
image layout, with :NAME after it where it holds several images).`

// outside reports whether an image is in no engine.
func outside(ref string) bool {
	_, remote := veneer.RegistryRef(ref)
	return remote || isArchive(ref)
}

// filesHelp says what commands take that read an image's files, too.
const filesHelp = `IMAGE may also be registry:HOST/NAME or docker://NAME, an image in its registry, or
archive:FILE or oci:DIR (an image archive or an OCI image layout, with :NAME after
it where it holds several images).`

// namesOutside refuses a prefix without a name.
func namesOutside(ref string) error {
	switch ref {
	case "docker://", "registry:":
		return usagef("%s wants a name: %sHOST/NAME", ref, ref)
	}
	return nil
}

// anyImageArg wants one image, here or elsewhere.
func anyImageArg(cmd *cobra.Command, args []string) error {
	if err := exactArgs(1)(cmd, args); err != nil {
		return err
	}
	if err := namesOutside(args[0]); err != nil {
		return err
	}
	if name, remote := veneer.RegistryRef(args[0]); remote {
		return nameArg(cmd, []string{name})
	}
	if isArchive(args[0]) {
		return nil
	}
	return checkRef(args[0])
}

// withImage finds an image, here or elsewhere, and calls use with it.
func (a *app) withImage(ctx context.Context, ref, platform string, f *registryFlags, use func(*veneer.Image) error) error {
	if !outside(ref) {
		return a.withReading(ctx, func(ctx context.Context, e *veneer.Engine) error {
			img, err := veneer.Inspect(ctx, e, ref, platform)
			if err != nil {
				return err
			}
			return use(img)
		})
	}
	f.Notify = a.notify
	return withTemporaryEngine(ctx, func(ctx context.Context, e *veneer.Engine) error {
		img, err := veneer.InspectOutside(ctx, e, ref, platform, f.RegistryOptions)
		if err != nil {
			return err
		}
		return use(img)
	})
}
