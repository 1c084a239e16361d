package veneer

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/container"
)

// Remove removes a name of an image, see [content.RemoveIf]. The last name of an image
// that a container was made from stays, and the error wraps [ErrInUse]: without the
// name, [Commit] would not find the container's image. It does not matter whether
// the container runs. So does that of an image that [Mount] has mounted: [ErrMounted].
// force removes the name nevertheless; a mount keeps what it shows.
func Remove(ctx context.Context, e *engine.Engine, ref string, force bool) ([]images.Image, error) {
	allow := func(ctx context.Context, going []images.Image) error {
		if force {
			return nil
		}
		users, err := orphans(ctx, e, going)
		if err == nil {
			err = refuseMounted(ctx, e, going)
		}
		if err != nil {
			return fmt.Errorf("remove image %s: %w", ref, err)
		}
		if len(users) > 0 {
			return &Error{Kind: ErrInUse, Op: "remove image", Ref: going[0].Name, Err: fmt.Errorf("%w, and no other name keeps it: %s", ErrInUse, container.Names(users))}
		}
		return nil
	}
	return content.RemoveIf(e.Context(ctx), e.Client, []string{ref}, false, allow)
}

// refuseMounted returns an error if an image that is mounted would have no name without
// the given records.
func refuseMounted(ctx context.Context, e *engine.Engine, going []images.Image) error {
	mounts, err := Mounts(ctx, e)
	if err != nil || len(mounts) == 0 {
		return err
	}
	ctx = e.Context(ctx)
	goes := chainsOf(ctx, e, going)
	mounts = slices.DeleteFunc(mounts, func(m Mounted) bool { return m.State == MountGone || !goes[m.record.ChainID.String()] })
	if len(mounts) == 0 {
		return nil
	}
	stays, err := chainsWithout(ctx, e, going)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if !stays[m.record.ChainID.String()] {
			return &Error{Kind: ErrMounted, Ref: going[0].Name, Path: m.Dir, Err: fmt.Errorf("%w on %s, and no other name keeps it", ErrMounted, m.Dir)}
		}
	}
	return nil
}

// chainsWithout returns the chain IDs of all images but the given ones.
func chainsWithout(ctx context.Context, e *engine.Engine, going []images.Image) (map[string]bool, error) {
	records, err := e.Client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return chainsOf(ctx, e, slices.DeleteFunc(records, func(r images.Image) bool {
		return slices.ContainsFunc(going, func(g images.Image) bool { return g.Name == r.Name })
	})), nil
}

// orphans returns the containers whose images would have no name without the given
// records.
func orphans(ctx context.Context, e *engine.Engine, going []images.Image) ([]containers.Container, error) {
	if e.Mode == engine.Embedded {
		return nil, nil // It has no containers.
	}
	ctx = e.Context(ctx)
	all, err := e.Client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	goes := chainsOf(ctx, e, going)
	users := slices.DeleteFunc(all, func(c containers.Container) bool {
		parent := rootfsParent(ctx, e, &c)
		if img, err := content.MadeFrom(ctx, e.Client.ContentStore(), &c); err == nil && img.ChainID.String() == parent {
			return true // It keeps its image itself.
		}
		if goes[parent] {
			return false
		}
		// Some containers have no snapshot, or one on a copy of the layers with other
		// owners. Only the image's name tells what they were made from.
		named := slices.ContainsFunc(going, func(r images.Image) bool { return r.Name == c.Image })
		return !named || digest.Digest(parent).Validate() == nil
	})
	if len(users) == 0 {
		return nil, nil
	}
	stays, err := chainsWithout(ctx, e, going)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(users, func(c containers.Container) bool { return stays[rootfsParent(ctx, e, &c)] }), nil
}

// chainsOf returns the chain IDs of images, for all their platforms. It leaves out
// images that cannot be read.
func chainsOf(ctx context.Context, e *engine.Engine, records []images.Image) map[string]bool {
	chains := map[string]bool{}
	store := e.Client.ContentStore()
	for _, record := range records {
		for _, img := range content.ReadableImages(ctx, store, record.Target) {
			if img.ChainID != "" {
				chains[img.ChainID.String()] = true
			}
		}
	}
	return chains
}

// rootfsParent returns the name of the parent of a container's snapshot. It is empty
// if there is none.
func rootfsParent(ctx context.Context, e *engine.Engine, c *containers.Container) string {
	if c.SnapshotKey == "" || c.Snapshotter == "" {
		return ""
	}
	info, err := e.Client.SnapshotService(c.Snapshotter).Stat(ctx, c.SnapshotKey)
	if err != nil {
		return ""
	}
	return info.Parent
}
