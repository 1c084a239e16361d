package run

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountRoot mounts the root file system on the stage.
func (s *sandbox) mountRoot(mounts []mount.Mount) error {
	if err := s.mountAt(rootName, mounts, true); err != nil {
		return fmt.Errorf("mount the root file system: %w", err)
	}
	root, err := os.OpenFile(s.local(rootName), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	s.root = root
	s.undo = append(s.undo, func() error {
		err := s.stubs.remove()
		if err != nil {
			err = fmt.Errorf("remove mount points from the root file system: %w", err)
		}
		return errors.Join(err, root.Close())
	})
	return nil
}

// addMount mounts the i-th mount of the process on the stage, and adds it to the
// list for the runtime. It makes the target unless that is in another mount.
func (s *sandbox) addMount(p *Process, i int) error {
	m := p.Mounts[i]
	if len(m.Source) == 1 && m.Source[0].Type == "tmpfs" {
		return s.addTmpfs(p, m)
	}
	name := fmt.Sprintf("mount%d", i)
	dir, err := s.source(name, m)
	if err != nil {
		return err
	}
	mode := uint32(fileMode)
	if dir {
		mode = dirMode
	}
	s.mounts = append(s.mounts, specs.Mount{
		Destination: m.Target, Type: "bind", Source: name, Options: []string{"rbind", access(m.ReadOnly)},
	})
	return s.addStub(p, m, mode)
}

// addTmpfs leaves a tmpfs to the runtime, which gives it the mode of the
// directory that it is mounted on.
func (s *sandbox) addTmpfs(p *Process, m Mount) error {
	if subpath(m) != "" {
		return fmt.Errorf("a new tmpfs has no %q", m.Subpath)
	}
	s.mounts = append(s.mounts, specs.Mount{
		Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: append(slices.Clone(m.Source[0].Options), access(m.ReadOnly)),
	})
	mode := uint32(unix.S_IFDIR | 0o1777)
	for _, o := range m.Source[0].Options {
		if text, ok := strings.CutPrefix(o, "mode="); ok {
			bits, err := strconv.ParseUint(text, 8, 12)
			if err != nil {
				return fmt.Errorf("mount a tmpfs with %q: %w", o, err)
			}
			mode = unix.S_IFDIR | uint32(bits)
		}
	}
	return s.addStub(p, m, mode)
}

// addStub makes the target, unless the runtime finds another mount there, in
// which it makes the target itself.
func (s *sandbox) addStub(p *Process, m Mount, mode uint32) error {
	covers := []string{"/proc", "/sys", "/dev"}
	for _, other := range p.Mounts {
		covers = append(covers, path.Clean(other.Target))
	}
	for _, cover := range covers {
		if strings.HasPrefix(path.Clean(m.Target), cover+"/") {
			return nil
		}
	}
	return s.stubs.make(s.root, path.Clean(m.Target), mode)
}

func access(readOnly bool) string {
	if readOnly {
		return "ro"
	}
	return "rw"
}

// subpath is a clean path. It is empty if the whole source is mounted.
func subpath(m Mount) string { return strings.TrimPrefix(path.Clean("/"+m.Subpath), "/") }

// source mounts the mount's source on the stage, and of that its subpath alone.
func (s *sandbox) source(name string, m Mount) (dir bool, err error) {
	dir = true
	if b := m.Source[0]; len(m.Source) == 1 && (b.Type == "bind" || slices.Contains(b.Options, "bind") || slices.Contains(b.Options, "rbind")) {
		info, err := os.Stat(b.Source)
		if err != nil {
			return false, err
		}
		dir = info.IsDir()
	}
	if subpath(m) == "" {
		return dir, s.mountAt(name, m.Source, dir)
	}
	whole := name + ".whole"
	if err := s.mountAt(whole, m.Source, dir); err != nil {
		return false, err
	}
	top, err := os.OpenFile(s.local(whole), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, top.Close()) }()
	// Another process may change what is there, such as one that uses the same
	// cache. So from here on the descriptor is used and not the path.
	part, err := walk(top, m.Subpath, nil)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, part.Close()) }()
	info, err := part.Stat()
	if err != nil {
		return false, err
	}
	if err := s.place(name, info.IsDir()); err != nil {
		return false, err
	}
	return info.IsDir(), s.bind(name, part)
}

// bind mounts on the stage what a descriptor refers to.
func (s *sandbox) bind(name string, f *os.File) error {
	tree, err := unix.OpenTree(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return mountError(name, err)
	}
	defer unix.Close(tree) //nolint:errcheck // Nothing was written.
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, s.local(name), unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return mountError(name, err)
	}
	s.undo = append(s.undo, func() error { return unmount(s.local(name)) })
	return nil
}

// place makes a file or directory as a mount point.
func (s *sandbox) place(name string, dir bool) error {
	if dir {
		return os.Mkdir(s.local(name), 0o755)
	}
	return os.WriteFile(s.local(name), nil, 0o600)
}

// mountAt mounts on the stage, in order.
func (s *sandbox) mountAt(name string, mounts []mount.Mount, dir bool) error {
	mounts, err := mountable(mounts)
	if err != nil {
		return err
	}
	if err := s.place(name, dir); err != nil {
		return err
	}
	at := s.local(name)
	for _, m := range mounts {
		if err := m.Mount(at); err != nil {
			return mountError(at, err)
		}
		s.undo = append(s.undo, func() error { return unmount(at) })
	}
	return nil
}

// mountable returns a deep copy of the mounts of a snapshot, since the helpers of
// containerd change options in place. It removes the option volatile of overlayfs,
// which skips the sync, since the snapshot will be committed. Mounts that only a
// daemon can make are an error.
func mountable(mounts []mount.Mount) ([]mount.Mount, error) {
	mounts = slices.Clone(mount.RemoveVolatileOption(mounts))
	for i := range mounts {
		if strings.Contains(mounts[i].Type, "/") {
			// Of the mount manager's (containerd's docs/mounts.md): erofs has them.
			return nil, fmt.Errorf("mount of type %q: only the daemon can; use another snapshotter", mounts[i].Type)
		}
		if mounts[i].Target != "" {
			return nil, fmt.Errorf("mount at %q in another mount: not known here; use another snapshotter", mounts[i].Target)
		}
		mounts[i].Options = slices.Clone(mounts[i].Options)
	}
	return mounts, nil
}

// unmount unmounts the topmost mount. If it is busy, it waits a little.
func unmount(path string) error {
	if err := mount.Unmount(path, unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	return nil
}

// mountError adds to the error of a mount what is needed for it.
func mountError(at string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return &MissingError{What: "the right to mount (CAP_SYS_ADMIN)", Advice: "run as root", Err: err}
	case errors.Is(err, unix.ENOSYS):
		return &MissingError{What: "open_tree and move_mount", Advice: "use Linux 5.6 or newer, without a filter of system calls", Err: err}
	}
	return fmt.Errorf("mount %s: %w", at, err)
}
