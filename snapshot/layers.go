package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/moby/sys/userns"
)

// ErrNoLayers means that a chain's layers are not plain directories that this
// process can read: the snapshotter works otherwise, or they belong to root.
var ErrNoLayers = errors.New("the snapshot's layers cannot be read in place")

// Layers are the layers of a chain, as the directories that a mount would combine.
// They do not change until Close.
type Layers struct {
	// Dirs are absolute, the uppermost layer first.
	Dirs   []string
	remove func() error
}

// OpenLayers finds the directories of a chain's layers, and mounts nothing. If there
// are no such directories, the error wraps [ErrNoLayers], and the caller can use
// [OpenView] instead. The caller closes the Layers, even after ctx ended.
func OpenLayers(ctx context.Context, sn snapshots.Snapshotter, chainID string) (_ *Layers, err error) {
	a, err := view(ctx, sn, "layers", chainID)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.remove(ctx))
		}
	}()
	d, err := plain(a.mounts)
	if err != nil {
		return nil, fmt.Errorf("read layers of snapshot %s: %w", chainID, err)
	}
	for _, dir := range d.lower {
		f, err := os.Open(dir)
		if err != nil {
			return nil, fmt.Errorf("read layers of snapshot %s: %w: %w", chainID, ErrNoLayers, err)
		}
		_ = f.Close() // Nothing was written to it.
	}
	return &Layers{Dirs: d.lower, remove: func() error { return a.remove(ctx) }}, nil
}

// Close releases the layers.
func (l *Layers) Close() error { return l.remove() }

// directories are what a snapshot's mount combines: absolute paths of this host.
type directories struct {
	// upper takes what is written. If it is empty, lower[0] does, or the mount is
	// read-only.
	upper string
	// lower are the layers below, the uppermost first.
	lower []string
}

// plain returns the directories behind a snapshot's mount: those of overlayfs, or the
// source of a bind mount. If the mount shows something else than these directories
// hold, the error wraps [ErrNoLayers].
func plain(mounts []mount.Mount) (directories, error) {
	if len(mounts) != 1 {
		return directories{}, fmt.Errorf("%w: %d mounts", ErrNoLayers, len(mounts))
	}
	var d directories
	userXattrs := false
	switch m := mounts[0]; m.Type {
	case "bind":
		d.lower = []string{m.Source}
	case "overlay":
		for _, o := range m.Options {
			key, value, _ := strings.Cut(o, "=")
			switch key {
			case "lowerdir":
				d.lower = strings.Split(value, ":")
			case "upperdir":
				d.upper = value
			case "lowerdir+", "datadir+", "uidmap", "gidmap":
				return directories{}, fmt.Errorf("%w: mount option %q", ErrNoLayers, o)
			case "userxattr":
				userXattrs = true
			}
		}
		// Whoever reads the directories takes one kind of attributes for overlayfs's:
		// in a user namespace the user's, else the trusted ones.
		if userXattrs != userns.RunningInUserNS() {
			return directories{}, fmt.Errorf("%w: mount option userxattr is %t, and this process is not of that kind", ErrNoLayers, userXattrs)
		}
	default:
		return directories{}, fmt.Errorf("%w: a mount of type %s", ErrNoLayers, m.Type)
	}
	if len(d.lower) == 0 {
		return directories{}, fmt.Errorf("%w: a mount without directories", ErrNoLayers)
	}
	for _, dir := range append([]string{d.upper}, d.lower...) {
		// A backslash escapes a colon in a directory's name.
		if dir != "" && !filepath.IsAbs(dir) || strings.Contains(dir, `\`) {
			return directories{}, fmt.Errorf("%w: directory %q", ErrNoLayers, dir)
		}
	}
	return d, nil
}
