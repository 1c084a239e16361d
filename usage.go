package veneer

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
)

// Usage tells what takes space in an engine's namespace.
type Usage struct {
	Images []ImageUsage `json:"images"`
	// ImageBytes is the size of the images' blobs, each counted once.
	ImageBytes int64 `json:"image_bytes"`
	// Snapshots are those of the engine's snapshotter: unpacked layers. Their size
	// is what the snapshotter knows of it.
	Snapshots     int   `json:"snapshots"`
	SnapshotBytes int64 `json:"snapshot_bytes"`
	// Unnamed are blobs that no image and no build keeps.
	Unnamed      int64 `json:"unnamed_blobs"`
	UnnamedBytes int64 `json:"unnamed_bytes"`
	// Kept are the steps and the cache mounts of Dockerfiles' builds. Steps' blobs
	// may be an image's, too.
	Kept PrunedSteps `json:"dockerfile"`
	// Cached are indexes of layers and digests of source files.
	Cached     int   `json:"cached"`
	CacheBytes int64 `json:"cache_bytes"`
}

// ImageUsage is the space that an image takes.
type ImageUsage = content.ImageUsage

// DiskUsage finds out what takes space. It changes nothing.
func DiskUsage(ctx context.Context, e *engine.Engine) (*Usage, error) {
	u := &Usage{}
	list, err := Images(ctx, e)
	if err != nil {
		return nil, err
	}
	u.Images, u.ImageBytes = content.Usage(list)
	if u.Images == nil {
		u.Images = []ImageUsage{}
	}
	garbage, err := content.FindGarbage(e.Context(ctx), e.Client)
	if err != nil {
		return nil, err
	}
	u.Unnamed, u.UnnamedBytes = garbage.Blobs, garbage.Bytes
	if u.Kept, err = PruneSteps(ctx, e, 0, DefaultKeepFor, true); err != nil {
		return nil, err
	}
	c, err := build.Cache(e).Left(true)
	if err != nil {
		return nil, err
	}
	u.Cached, u.CacheBytes = c.Files, c.Bytes
	return u, u.countSnapshots(e.Context(ctx), e.Client.SnapshotService(e.Snapshotter))
}

// countSnapshots counts committed snapshots. Others are of containers and running
// builds.
func (u *Usage) countSnapshots(ctx context.Context, s snapshots.Snapshotter) error {
	var errs []error
	err := s.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted {
			return nil
		}
		u.Snapshots++
		usage, err := s.Usage(ctx, info.Name)
		u.SnapshotBytes += usage.Size
		errs = append(errs, err)
		return nil
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("measure snapshots: %w", err)
	}
	return nil
}
