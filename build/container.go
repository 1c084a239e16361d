package build

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine/container"
	"github.com/veneer-build/veneer/internal/fault"
)

// BaseOfContainer finds the image that a container was made from. That is the image
// that was kept for the container when its name was given to another one
// ([content.Record]); or else the image of the name in the container's record, if the
// container's snapshot is on that image's layers; or else the only image in the engine
// with those layers. The image is held until the run is over.
func (s *Session) BaseOfContainer(ctx context.Context, c *containers.Container, platform string) (*content.Image, error) {
	s.Steps.Start("resolve")
	active, err := container.Rootfs(ctx, s.Engine, c)
	if err != nil {
		return nil, err
	}
	img, err := s.imageOf(ctx, c, active.Parent, platform)
	if err != nil {
		return nil, err
	}
	return img, s.Adopt(ctx, img)
}

// imageOf finds the image of a container, given the parent of its snapshot.
func (s *Session) imageOf(ctx context.Context, c *containers.Container, parent, platform string) (*content.Image, error) {
	named, why := s.imageRecord(ctx, c.Image, platform)
	kept, err := content.MadeFrom(ctx, s.Engine.Client.ContentStore(), c)
	switch {
	case err == nil && kept.ChainID.String() == parent:
		// An image that has the name by now may have the same layers.
		if why == nil && named.Manifest.Digest == kept.Manifest.Digest {
			return named, nil
		}
		s.Warnings.Add(fmt.Sprintf("%s is another image by now; the base is the one that the container was made from, %s", c.Image, kept.Name))
		return kept, nil
	case err != nil && !errdefs.IsNotFound(err):
		s.Log.Debug("cannot read the image that was kept for the container", "error", err)
	}
	if why == nil {
		if named.ChainID.String() == parent {
			return named, nil
		}
		why = fmt.Errorf("%s is another image by now", c.Image)
	}
	all, err := s.imagesOn(ctx, parent, platform)
	if err != nil {
		return nil, err
	}
	switch len(all) {
	case 0:
		return nil, unknownImage(c, fmt.Errorf("%w, and no other has the layers it was made from (%s)", why, parent))
	case 1:
		s.Warnings.Add(fmt.Sprintf("%v; the container's layers are those of %s, which is the base", why, all[0].Name))
		return all[0], nil
	}
	names := make([]string, len(all))
	for i, img := range all {
		names[i] = img.Name
	}
	return nil, unknownImage(c, fmt.Errorf("%w, and %s have its layers with different configs", why, strings.Join(names, ", ")))
}

func unknownImage(c *containers.Container, why error) error {
	return &fault.Error{Kind: ErrContainerImage, Op: "find the image of container", Ref: c.ID, Err: why}
}

// imageRecord returns the image with exactly this name.
func (s *Session) imageRecord(ctx context.Context, name, platform string) (*content.Image, error) {
	if name == "" {
		return nil, fmt.Errorf("the container has no image's name: %w", errdefs.ErrNotFound)
	}
	record, err := s.Engine.Client.ImageService().Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up image %s: %w", name, err)
	}
	return s.resolveRecord(ctx, record, platform)
}

func (s *Session) resolveRecord(ctx context.Context, record images.Image, platform string) (*content.Image, error) {
	img, err := content.ResolveTarget(ctx, s.Engine.Client.ContentStore(), record.Target, platform)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", record.Name, err)
	}
	img.Name, img.Record = record.Name, record
	return img, nil
}

// imagesOn returns the images with a chain ID, in the order of their names. Of
// several with the same config it returns one. It leaves out images that cannot be
// read.
func (s *Session) imagesOn(ctx context.Context, chain, platform string) ([]*content.Image, error) {
	records, err := s.Engine.Client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	slices.SortFunc(records, func(a, b images.Image) int { return cmp.Compare(a.Name, b.Name) })
	var found []*content.Image
	for _, record := range records {
		img, err := s.resolveRecord(ctx, record, platform)
		if err != nil {
			s.Log.Debug("not the container's image", "error", err)
			continue
		}
		same := func(other *content.Image) bool { return other.ConfigDesc.Digest == img.ConfigDesc.Digest }
		if img.ChainID.String() == chain && !slices.ContainsFunc(found, same) {
			found = append(found, img)
		}
	}
	return found, nil
}
