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
)

// tempMount is a snapshot's mounts below a private directory.
type tempMount struct {
	// dir is the mount point. Its parent is what keeps other users out: the
	// mount point itself shows the mode of the root file system.
	dir    string
	mounts []mount.Mount
	parent *tempDir
}

// mountPoint is the name of the mount point in its private directory.
const mountPoint = "rootfs"

// mountTemp mounts, in order; with no mounts the directory is a plain one.
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

// Close unmounts and removes the directories. It never removes anything that
// is not an empty directory, so that a mount that stayed loses nothing.
func (m *tempMount) Close() error {
	// This waits some seconds for a mount that is busy. Who may not mount may
	// not unmount either, even where nothing is mounted, as after the attempt.
	if err := mount.UnmountMounts(m.mounts, m.dir, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	if err := removeMountPoint(m.parent.path); err != nil {
		return err
	}
	_ = m.parent.lock.Close() // Nothing was written. It may be closed already.
	return nil
}

// mountable returns a deep copy of a snapshot's mounts, since containerd's
// helpers edit options in place, as this process may mount them: nobody is to
// run or open devices in them. Volatile overlays cannot be mounted twice, and
// they skip the sync that a commit needs.
func mountable(mounts []mount.Mount) ([]mount.Mount, error) {
	mounts = slices.Clone(mount.RemoveVolatileOption(mounts))
	for i := range mounts {
		m := &mounts[i]
		if strings.Contains(m.Type, "/") {
			// Of the mount manager's (containerd's docs/mounts.md): erofs has them.
			return nil, fmt.Errorf("mount of type %q: only the daemon can; use --reader=index and --differ=veneer, which mount nothing, or another --snapshotter", m.Type)
		}
		for _, o := range m.Options {
			if strings.HasPrefix(o, "uidmap") || strings.HasPrefix(o, "gidmap") {
				return nil, fmt.Errorf("mount with option %q: owners would be shifted; use a snapshotter without id-mapped mounts (--snapshotter)", o)
			}
		}
		m.Options = slices.Clone(m.Options)
		if !strings.HasPrefix(m.Type, "fuse") {
			m.Options = append(m.Options, "nosuid", "nodev", "noexec")
		}
	}
	return mounts, nil
}

// syncMounts makes what the diff service wrote through an active snapshot's
// mounts durable: daemons before 2.0 do not know that they were asked to, and
// no snapshotter does it on commit. It does nothing where the directories are
// not this process's to open.
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
