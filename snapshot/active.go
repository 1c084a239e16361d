package snapshot

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
)

// Active is an active snapshot of somebody else's, a container's for one: where
// its files are on this host. It is not mounted by this process, whatever is
// done with it, since an upper directory must not be part of two overlay
// mounts; and nothing keeps it from being changed or removed.
type Active struct {
	// Parent is the name of the committed snapshot below, in most cases a chain
	// ID; empty: none.
	Parent string
	// Dirs are absolute: the directory that is written to, then those of the
	// parent's layers, the uppermost first. Together they are the root file
	// system, as an overlay mount combines them. The parent's are missing where
	// the first holds a copy of all their files, as with the native snapshotter.
	Dirs []string
}

// FindActive finds the directories of an active snapshot. The error wraps
// [ErrNoLayers] where the snapshotter has none, or they do not say all.
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

// plainOverlay is an error for a mount whose upper directory does not say by
// itself what the mount shows: with an index, a write to one name of a file
// in a lower layer shows under its other names too.
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
	// What is not there is not in use.
	if data, err := os.ReadFile(parameter); err == nil && strings.TrimSpace(string(data)) == "Y" {
		return fmt.Errorf("%w: overlayfs's index is on (%s)", ErrNoLayers, parameter)
	}
	return nil
}
