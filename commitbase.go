package veneer

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
)

// containerBase finds the image that a container was made from: the one of its
// image's name, if the container's snapshot stands on that image's layers. A
// name may have moved on to another image since; then it is the one image of
// the engine with those layers. parent is the name of the snapshot that the
// container's is on.
func (b *build) containerBase(ctx context.Context, c *containers.Container, parent string) (*content.Image, error) {
	named, why := b.imageRecord(ctx, c.Image)
	if why == nil {
		if named.ChainID.String() == parent {
			return named, nil
		}
		why = fmt.Errorf("%s is another image by now", c.Image)
	}
	all, err := b.imagesOn(ctx, parent)
	if err != nil {
		return nil, err
	}
	const advice = "name the image to commit onto with --from; the result shows the container's files on any"
	switch len(all) {
	case 0:
		return nil, fmt.Errorf("find the image of container %s: %w, and no other has the layers it was made from (%s); %s", c.ID, why, parent, advice)
	case 1:
		b.result.Warnings = append(b.result.Warnings, fmt.Sprintf("%v; the container's layers are those of %s, which is the base", why, all[0].Name))
		return all[0], nil
	}
	names := make([]string, len(all))
	for i, img := range all {
		names[i] = img.Name
	}
	return nil, fmt.Errorf("find the image of container %s: %w, and %s have its layers with different configs; %s", c.ID, why, strings.Join(names, ", "), advice)
}

// imageRecord returns the image of exactly that name.
func (b *build) imageRecord(ctx context.Context, name string) (*content.Image, error) {
	if name == "" {
		return nil, fmt.Errorf("the container has no image's name: %w", errdefs.ErrNotFound)
	}
	record, err := b.engine.Client.ImageService().Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up image %s: %w", name, err)
	}
	return b.resolveRecord(ctx, record)
}

func (b *build) resolveRecord(ctx context.Context, record images.Image) (*content.Image, error) {
	img, err := content.ResolveTarget(ctx, b.engine.Client.ContentStore(), record.Target, b.Platform)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", record.Name, err)
	}
	img.Name, img.Record = record.Name, record
	return img, nil
}

// imagesOn returns the images whose layers are the snapshot's, one of each
// config, in order of their names. Those that cannot be read are not among them.
func (b *build) imagesOn(ctx context.Context, chain string) ([]*content.Image, error) {
	records, err := b.engine.Client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	slices.SortFunc(records, func(a, b images.Image) int { return cmp.Compare(a.Name, b.Name) })
	var found []*content.Image
	for _, record := range records {
		img, err := b.resolveRecord(ctx, record)
		if err != nil {
			b.log.Debug("not the container's image", "error", err)
			continue
		}
		same := func(other *content.Image) bool { return other.ConfigDesc.Digest == img.ConfigDesc.Digest }
		if img.ChainID.String() == chain && !slices.ContainsFunc(found, same) {
			found = append(found, img)
		}
	}
	return found, nil
}
