package content

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
)

// labelRoot is on what containerd's garbage collector keeps for its own sake.
const labelRoot = "containerd.io/gc.root"

// Garbage is what a collection would remove.
type Garbage struct {
	Blobs int64
	Bytes int64
}

// FindGarbage counts the blobs of ctx's namespace that no image and no lease
// refers to, itself or by way of the labels of other blobs: what the engine
// would collect after a [Sweep]. It is for people to look at beforehand; what
// snapshots refer to by labels of theirs, which nothing here sets, it does not know.
func FindGarbage(ctx context.Context, c *client.Client) (Garbage, error) {
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

// collectRoots are the blobs that images and leases name, but for leases that
// are over.
func collectRoots(ctx context.Context, c *client.Client) ([]digest.Digest, error) {
	gone, _, err := sortLeases(ctx, c)
	if err != nil {
		return nil, err
	}
	over := map[string]bool{}
	for _, l := range gone {
		over[l.ID] = true
	}
	records, err := c.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var roots []digest.Digest
	for _, r := range records {
		roots = append(roots, r.Target.Digest)
	}
	all, err := c.LeasesService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	for _, l := range all {
		expire, err := time.Parse(time.RFC3339, l.Labels[labelExpire])
		if over[l.ID] || err == nil && time.Now().After(expire) {
			continue
		}
		resources, err := c.LeasesService().ListResources(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("list what lease %s holds: %w", l.ID, err)
		}
		for _, r := range resources {
			if r.Type == "content" {
				roots = append(roots, digest.Digest(r.ID))
			}
		}
	}
	return roots, nil
}
