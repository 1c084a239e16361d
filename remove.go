package veneer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/container"
)

// ErrInUse means that a container needs the image.
var ErrInUse = errors.New("a container uses it")

// Remove removes a name of an image, see [content.Remove]. It refuses, with
// [ErrInUse], the last name of an image that a container was made from, running
// or not: without it the container could not be committed. Force removes it all
// the same.
func Remove(ctx context.Context, e *engine.Engine, ref string, force bool) ([]images.Image, error) {
	allow := func(ctx context.Context, going []images.Image) error {
		if force {
			return nil
		}
		users, err := orphans(ctx, e, going)
		if err != nil {
			return fmt.Errorf("remove image %s: %w", ref, err)
		}
		if len(users) > 0 {
			return fmt.Errorf("remove image %s: %w, and no other name keeps it: %s; remove that first, or use --force", going[0].Name, ErrInUse, container.Names(users))
		}
		return nil
	}
	return content.RemoveIf(e.Context(ctx), e.Client, []string{ref}, false, allow)
}

// orphans returns the containers that were made from images which would have no
// name if the given records went, or named others.
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
		if goes[parent] {
			return false
		}
		// What lies on no chain of layers, but on a copy of one with other owners, or
		// has no snapshot, is known by the name alone.
		named := slices.ContainsFunc(going, func(r images.Image) bool { return r.Name == c.Image })
		return !named || digest.Digest(parent).Validate() == nil
	})
	if len(users) == 0 {
		return nil, nil
	}
	records, err := e.Client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	stays := chainsOf(ctx, e, slices.DeleteFunc(records, func(r images.Image) bool {
		return slices.ContainsFunc(going, func(g images.Image) bool { return g.Name == r.Name })
	}))
	return slices.DeleteFunc(users, func(c containers.Container) bool { return stays[rootfsParent(ctx, e, &c)] }), nil
}

// chainsOf are the names of the snapshots of images, of all their platforms.
// What cannot be read has none.
func chainsOf(ctx context.Context, e *engine.Engine, records []images.Image) map[string]bool {
	chains := map[string]bool{}
	store := e.Client.ContentStore()
	for _, record := range records {
		docs, err := content.Documents(ctx, store, record.Target)
		if err != nil {
			continue
		}
		for _, doc := range docs {
			if doc.Err != nil || doc.IsIndex() || doc.Beside {
				continue
			}
			if img, err := content.ResolveTarget(ctx, store, doc.Desc, ""); err == nil && img.ChainID != "" {
				chains[img.ChainID.String()] = true
			}
		}
	}
	return chains
}

// rootfsParent is the name of the snapshot that a container's lies upon; empty
// where there is none.
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

// Retagged names the containers, for people, that a move of a name to another
// image would leave without a name of theirs; empty: there are none. It only
// serves a warning: what cannot be found out is left out.
func Retagged(ctx context.Context, e *engine.Engine, ref, to string) string {
	ctx = e.Context(ctx)
	name, err := content.NormalizeTag(to)
	if err != nil {
		return ""
	}
	record, err := e.Client.ImageService().Get(ctx, name)
	if err != nil {
		return ""
	}
	other, err := content.Lookup(ctx, e.Client, ref)
	if err != nil || other.Target.Digest == record.Target.Digest {
		return ""
	}
	users, err := orphans(ctx, e, []images.Image{record})
	if err != nil {
		return ""
	}
	return container.Names(users)
}
