package snapshot

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
)

// Active is somebody else's active snapshot, such as a container's, and tells where
// its files are on this host. This process must not mount it: an upper directory
// must not be part of two overlay mounts. Nothing keeps it from being changed or
// removed.
type Active struct {
	// Parent is the name of the committed snapshot below, in most cases a chain
	// ID; empty: none.
	Parent string
	// Dirs are absolute paths: the directory that is written to, then those of the
	// parent's layers, the uppermost first. An overlay mount of them is the root file
	// system. With the native snapshotter there is only the first, which has a copy
	// of all files.
	Dirs []string
}

// FindActive finds the directories of an active snapshot. The error wraps
// [ErrNoLayers] if the snapshotter has none, or if they do not show all files.
func FindActive(ctx context.Context, sn snapshots.Snapshotter, key string) (*Active, error) {
	info, err := sn.Stat(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("look up snapshot %s: %w", key, err)
	}
	if info.Kind != snapshots.KindActive {
		return nil, fmt.Errorf("look up snapshot %s: %w: it is a %s one, not active", key, ErrNoLayers, strings.ToLower(info.Kind.String()))
	}
	mounts, err := sn.Mounts(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("look up mounts of snapshot %s: %w", key, err)
	}
	d, err := plain(mounts)
	if err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w", key, err)
	}
	dirs := d.lower
	if d.upper != "" {
		if err := plainOverlay(mounts[0].Options); err != nil {
			return nil, fmt.Errorf("read snapshot %s: %w", key, err)
		}
		dirs = append([]string{d.upper}, dirs...)
	}
	return &Active{Parent: info.Parent, Dirs: dirs}, nil
}

// plainOverlay returns an error for a mount that can show changes which are not in
// its upper directory. With overlayfs's index, a write to one name of a file in a
// lower layer shows under the file's other names too.
func plainOverlay(options []string) error {
	const parameter = "/sys/module/overlay/parameters/index"
	for _, o := range options {
		switch o {
		case "index=off":
			return nil
		case "index=on":
			return fmt.Errorf("%w: mount option %q", ErrNoLayers, o)
		}
	}
	// A kernel without the parameter has no index.
	if data, err := os.ReadFile(parameter); err == nil && strings.TrimSpace(string(data)) == "Y" {
		return fmt.Errorf("%w: overlayfs's index is on (%s)", ErrNoLayers, parameter)
	}
	return nil
}
