package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/fault"
)

// tempMount is a snapshot that is mounted below a private directory.
type tempMount struct {
	// dir is the mount point. It has the mode of the mounted root directory, so its
	// parent keeps other users out.
	dir    string
	mounts []mount.Mount
	parent *tempDir
}

// mountPoint is the name of the mount point in its private directory.
const mountPoint = "rootfs"

// mountTemp mounts in order. Without mounts, the result is an empty directory.
func mountTemp(mounts []mount.Mount) (_ *tempMount, err error) {
	mounts, err = mountable(mounts)
	if err != nil {
		return nil, err
	}
	parent, err := makeTemp(tempMountPrefix)
	if err != nil {
		return nil, err
	}
	m := &tempMount{dir: filepath.Join(parent.path, mountPoint), mounts: mounts, parent: parent}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return nil, err
	}
	if err := mount.All(mounts, m.dir); err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("mount: %w; this needs root (CAP_SYS_ADMIN)", err)
		}
		return nil, fmt.Errorf("mount: %w", err)
	}
	return m, nil
}

// Close unmounts and removes the directories. It removes only empty directories, so
// nothing is lost if something is still mounted.
func (m *tempMount) Close() error {
	// This waits some seconds for a busy mount. A user who may not mount gets EPERM,
	// even if nothing is mounted because mounting failed.
	if err := mount.UnmountMounts(m.mounts, m.dir, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	if err := removeMountPoint(m.parent.path); err != nil {
		return err
	}
	_ = m.parent.lock.Close() // Nothing was written. It may be closed already.
	return nil
}

// mountable returns a copy of a snapshot's mounts, with options that keep programs
// and devices in them from being used. It removes the option volatile: such overlays
// cannot be mounted twice, and do not sync before a commit. The copy is deep, since
// containerd's helpers change options in place.
func mountable(mounts []mount.Mount) ([]mount.Mount, error) {
	mounts = slices.Clone(mount.RemoveVolatileOption(mounts))
	for i := range mounts {
		m := &mounts[i]
		if strings.Contains(m.Type, "/") {
			// Of the mount manager's (containerd's docs/mounts.md): erofs has them.
			return nil, fault.Mark(ErrCannotMount, fmt.Errorf("mount of type %q: only the daemon can", m.Type))
		}
		for _, o := range m.Options {
			if strings.HasPrefix(o, "uidmap") || strings.HasPrefix(o, "gidmap") {
				return nil, fault.Mark(ErrCannotMount, fmt.Errorf("mount with option %q: owners would be shifted", o))
			}
		}
		m.Options = slices.Clone(m.Options)
		if !strings.HasPrefix(m.Type, "fuse") {
			m.Options = append(m.Options, "nosuid", "nodev", "noexec")
		}
	}
	return mounts, nil
}

// syncMounts makes durable what the diff service wrote to an active snapshot. Daemons
// before 2.0 ignore the request to do so, and no snapshotter does it on commit. It
// skips directories that this process may not open.
func syncMounts(mounts []mount.Mount) error {
	for _, m := range mounts {
		dir := m.Source
		if m.Type == "overlay" {
			dir = ""
			for _, o := range m.Options {
				if upper, ok := strings.CutPrefix(o, "upperdir="); ok {
					dir = upper
				}
			}
		}
		if !filepath.IsAbs(dir) {
			continue
		}
		if err := syncFS(dir); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
	return nil
}
