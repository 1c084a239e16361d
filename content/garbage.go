package content

import (
	"context"
	"fmt"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content/lease"
)

// labelRoot is on what containerd's garbage collector keeps for its own sake.
const labelRoot = "containerd.io/gc.root"

// Garbage is what a collection would remove.
type Garbage struct {
	Blobs int64
	Bytes int64
}

// FindGarbage counts the blobs of ctx's namespace that no image, container or lease
// refers to, itself or by way of the labels of other blobs: what the engine
// would collect after a [Sweep]. It is for people to look at beforehand; what
// snapshots refer to by labels of theirs, which nothing here sets, it does not know.
func FindGarbage(ctx context.Context, c Recorder) (Garbage, error) {
	todo, err := collectRoots(ctx, c)
	if err != nil {
		return Garbage{}, err
	}
	blobs := map[digest.Digest]cstore.Info{}
	err = c.ContentStore().Walk(ctx, func(info cstore.Info) error {
		blobs[info.Digest] = info
		if _, root := info.Labels[labelRoot]; root {
			todo = append(todo, info.Digest)
		}
		return nil
	})
	if err != nil {
		return Garbage{}, fmt.Errorf("list blobs: %w", err)
	}
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		info, there := blobs[d]
		if !there {
			continue // It is not here, or was seen.
		}
		delete(blobs, d)
		for k, v := range info.Labels {
			if keepsContent(k) {
				todo = append(todo, digest.Digest(v))
			}
		}
	}
	var g Garbage
	for _, info := range blobs {
		g.Blobs++
		g.Bytes += info.Size
	}
	return g, nil
}

// keepsContent reports whether a label's value is a blob that the label's owner
// keeps, as containerd's collector takes it: the name, or it and a dot or slash.
func keepsContent(label string) bool {
	rest, ok := strings.CutPrefix(label, gcContent)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '/')
}

// collectRoots returns the blobs that images, containers and leases name, apart from
// leases that are over.
func collectRoots(ctx context.Context, c Recorder) ([]digest.Digest, error) {
	roots, err := lease.KeptBlobs(ctx, c.LeasesService())
	if err != nil {
		return nil, err
	}
	records, err := c.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	for _, r := range records {
		roots = append(roots, r.Target.Digest)
	}
	used, err := c.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, container := range used {
		for k, v := range container.Labels {
			if keepsContent(k) {
				roots = append(roots, digest.Digest(v))
			}
		}
	}
	return roots, nil
}
