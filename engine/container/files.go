package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/moby/sys/mountinfo"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/snapshot"
)

// Rootfs finds the directories of a container's root file system.
func Rootfs(ctx context.Context, e *engine.Engine, c *containers.Container) (*snapshot.Active, error) {
	if c.SnapshotKey == "" {
		return nil, &fault.Error{Kind: ErrNoSnapshot, Op: "read container", Ref: c.ID}
	}
	active, err := snapshot.FindActive(ctx, e.Client.SnapshotService(c.Snapshotter), c.SnapshotKey)
	if errors.Is(err, snapshot.ErrNoLayers) {
		return nil, fmt.Errorf("read container %s: %w; containers can be read on the snapshotters overlayfs and native", c.ID, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read container %s: %w", c.ID, err)
	}
	for _, dir := range active.Dirs {
		if err := e.Sees(ctx, dir); err != nil {
			return nil, fmt.Errorf("read container %s: %w; run veneer as root where containerd runs", c.ID, err)
		}
	}
	return active, nil
}

// MountOf finds where the overlay with an upper directory is mounted. A container
// has such a mount while it is started.
func MountOf(upper string) (string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("overlay"))
	if err != nil {
		return "", fmt.Errorf("list mounts: %w", err)
	}
	for _, m := range mounts {
		for o := range strings.SplitSeq(m.VFSOptions, ",") {
			if o == "upperdir="+upper && m.Root == "/" {
				return m.Mountpoint, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w; start the container, so that its own mount can be read", upper, tree.ErrOverlayFeature)
}
