package content

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/containers"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// labelMadeFrom is a label of a container. It names the manifest of the image that
// the container was made from, once that image's name belongs to another one. By
// its prefix, containerd's collector keeps the image as long as the container.
const labelMadeFrom = gcContent + ".veneer-made-from"

// keepForContainers is called before a name is given to the target. It labels the
// containers that were made from the image which has that name until now.
func keepForContainers(ctx context.Context, r Recorder, name string, target digest.Digest) error {
	old, err := r.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) || err == nil && old.Target.Digest == target {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the image of that name: %w", err)
	}
	all, err := r.ContainerService().List(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	if len(all) == 0 {
		return nil
	}
	manifests := map[string]digest.Digest{} // by chain ID
	for _, img := range ReadableImages(ctx, r.ContentStore(), old.Target) {
		manifests[img.ChainID.String()] = img.Manifest.Digest
	}
	for i := range all {
		manifest, ok := manifests[parentOf(ctx, r, &all[i])]
		if !ok || !madeFromName(ctx, r, &all[i], name) {
			continue
		}
		labelled := containers.Container{ID: all[i].ID, Labels: map[string]string{labelMadeFrom: manifest.String()}}
		_, err := r.ContainerService().Update(ctx, labelled, "labels."+labelMadeFrom)
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("keep the image of container %s: %w", all[i].ID, err)
		}
	}
	return nil
}

// madeFromName reports whether a container was made from the image with a name, given
// that its snapshot is on that image's layers. Other images can have these layers.
func madeFromName(ctx context.Context, r Recorder, c *containers.Container, name string) bool {
	if c.Labels[labelMadeFrom] != "" {
		return false // It is known already, and the name has another image by now.
	}
	if c.Image == name {
		return true
	}
	_, err := r.ImageService().Get(ctx, c.Image)
	return errdefs.IsNotFound(err)
}

// parentOf returns the chain ID that a container's snapshot is on; empty if it has
// no snapshot.
func parentOf(ctx context.Context, r Recorder, c *containers.Container) string {
	if c.SnapshotKey == "" || c.Snapshotter == "" {
		return ""
	}
	info, err := r.SnapshotService(c.Snapshotter).Stat(ctx, c.SnapshotKey)
	if err != nil {
		return ""
	}
	return info.Parent
}

// MadeFrom returns the image that a container was made from, if its name was given
// to another image since then. Its Name is its digest. The error wraps
// [errdefs.ErrNotFound] where no such move is known.
func MadeFrom(ctx context.Context, store cstore.Store, c *containers.Container) (*Image, error) {
	d, err := digest.Parse(c.Labels[labelMadeFrom])
	if err != nil {
		return nil, fmt.Errorf("container %s has no image of its own: %w", c.ID, errdefs.ErrNotFound)
	}
	info, err := store.Info(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("look up image %s of container %s: %w", d, c.ID, err)
	}
	// The label does not tell the type, and a manifest need not do so.
	var wrong []error
	for _, mediaType := range []string{ocispec.MediaTypeImageManifest, images.MediaTypeDockerSchema2Manifest} {
		img, err := ResolveTarget(ctx, store, ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: info.Size}, "")
		if err == nil {
			img.Name = d.String()
			return img, nil
		}
		wrong = append(wrong, err)
	}
	return nil, fmt.Errorf("resolve image %s of container %s: %w", d, c.ID, errors.Join(wrong...))
}
