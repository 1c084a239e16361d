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
	"github.com/veneer-build/veneer/internal/thread"
)

// Lasting says how a root file system is mounted that stays mounted when the process
// ends, see [Work.Detached].
type Lasting struct {
	// ID becomes the mount's source where that means nothing else, as with
	// overlayfs. The mount is told from all others by it.
	ID string
	// Upper is a directory of this user's in which the work, a reading one, gets what is
	// written. It is kept there. Empty: the work itself takes it.
	Upper string
}

// UpperName is the directory in [Lasting].Upper that overlayfs writes to.
const UpperName = "upper"

// Detached is a mounted root file system that has no place in the file tree yet. Nobody
// sees it, and without a place it ends with this process.
type Detached struct {
	tree *os.File
	mark Mark
}

// Mark says by what it is found when it has a place.
func (d *Detached) Mark() Mark { return d.mark }

// Close lets go of it. It stays where it was attached.
func (d *Detached) Close() error { return d.tree.Close() }

// Attach gives it a place: an open directory. One call of the kernel does it, so
// that it is there as a whole or not at all.
func (d *Detached) Attach(dir *os.File) error {
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	return os.NewSyscallError("move_mount", unix.MoveMount(int(d.tree.Fd()), "", int(dir.Fd()), "", flags))
}

// Detached mounts the root file system. Programs in it can be run. Set-user-ID bits, file
// capabilities and devices have no effect, since other users of this host may get at the
// files, and an image may be a stranger's. The work must not be closed as long as
// it is mounted. The caller closes the result.
func (w *Work) Detached(o Lasting) (*Detached, error) {
	p, err := w.plan(o)
	if err != nil {
		return nil, fmt.Errorf("mount snapshot %s: %w", w.active.key, err)
	}
	var d *Detached
	// What is mounted on the way is in a namespace that ends with the thread, whatever
	// becomes of this process.
	err = thread.Own(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return os.NewSyscallError("mount", err)
		}
		temp, err := makeTemp(tempMountPrefix)
		if err != nil {
			return err
		}
		d, err = p.detach(temp.path)
		return errors.Join(err, removeMountPoint(temp.path), temp.lock.Close())
	})
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w; this needs root (CAP_SYS_ADMIN)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("mount snapshot %s: %w", w.active.key, err)
	}
	return d, nil
}

// plan is a mount that is to be made.
type plan struct {
	// of an overlay without the option lowerdir, which is made of lower.
	of    mount.Mount
	lower []string
	flags uintptr
}

// plan chooses how the work is mounted. What is only read becomes an overlay of its
// layers also where the snapshotter binds one directory, since of a bind mount
// nobody can tell whether it is this one.
func (w *Work) plan(o Lasting) (plan, error) {
	mounts, err := mountable(w.Mounts())
	if err != nil {
		return plan{}, err
	}
	if len(mounts) != 1 || mounts[0].Target != "" {
		return plan{}, fault.Mark(ErrCannotMount, fmt.Errorf("mount of %d parts: only the daemon can", len(mounts)))
	}
	p := plan{of: mounts[0], flags: unix.MS_NOSUID | unix.MS_NODEV}
	if w.readOnly && o.Upper == "" {
		p.flags |= unix.MS_RDONLY
	}
	dirs, err := plain(mounts)
	switch {
	case err != nil && o.Upper != "":
		return plan{}, fault.Mark(ErrCannotMount, fmt.Errorf("no directory can be put over it: %w", err))
	case err == nil && w.readOnly:
		p.lower = dirs.lower
		p.of = mount.Mount{Type: "overlay", Options: append(keptOptions(mounts[0]), "nosuid", "nodev")}
		if o.Upper == "" {
			p.of.Options = append(p.of.Options, "ro")
			break
		}
		upper, work, err := prepareUpper(o.Upper, dirs.lower[0])
		if err != nil {
			return plan{}, err
		}
		// What these keep in the upper directory holds for the same image only.
		p.of.Options = append(p.of.Options, "upperdir="+upper, "workdir="+work, "redirect_dir=off", "metacopy=off")
	}
	if p.of.Type == "overlay" {
		p.of.Source = o.ID
	}
	return p, nil
}

// keptOptions are those of a snapshotter's overlay that say how it works, and not
// where it is.
func keptOptions(m mount.Mount) []string {
	if m.Type != "overlay" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool {
		return strings.HasPrefix(o, "lowerdir=") || slices.Contains([]string{"nosuid", "nodev", "noexec"}, o)
	})
}

// prepareUpper makes what overlayfs writes to in a directory, with the root directory's
// owner and mode.
func prepareUpper(dir, lower string) (upper, work string, err error) {
	upper, work = filepath.Join(dir, UpperName), filepath.Join(dir, "work")
	if strings.ContainsAny(dir, `:,\`) {
		return "", "", fmt.Errorf("write to %s: overlayfs takes no path with a colon, a comma or a backslash", dir)
	}
	if err := os.Mkdir(work, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", "", err
	}
	switch err := os.Mkdir(upper, 0o700); {
	case errors.Is(err, fs.ErrExist):
		return upper, work, nil
	case err != nil:
		return "", "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return "", "", &os.PathError{Op: "stat", Path: lower, Err: err}
	}
	return upper, work, errors.Join(os.Chown(upper, int(st.Uid), int(st.Gid)), unix.Chmod(upper, st.Mode&0o7777))
}

// detach mounts below a directory, over which it first mounts a file system in memory, and
// returns a copy of the mount.
func (p plan) detach(temp string) (_ *Detached, err error) {
	if err := unix.Mount("tmpfs", temp, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=64k,mode=0700"); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	defer func() { err = errors.Join(err, os.NewSyscallError("umount", unix.Unmount(temp, unix.MNT_DETACH))) }()
	dir, empty := filepath.Join(temp, mountPoint), filepath.Join(temp, "empty")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(empty, 0o755)); err != nil {
		return nil, err
	}
	m := p.of
	if lower := p.lower; len(lower) > 0 {
		if len(lower) == 1 && p.flags&unix.MS_RDONLY != 0 {
			lower = append(slices.Clone(lower), empty) // Overlayfs wants two.
		}
		m.Options = append(slices.Clone(m.Options), "lowerdir="+strings.Join(lower, ":"))
	}
	if err := mount.All([]mount.Mount{m}, dir); err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	// The mount's flags are these alone, whatever kind it is.
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|p.flags, ""); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	mark, err := markOf(dir)
	if err != nil {
		return nil, err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("open_tree", err)
	}
	return &Detached{os.NewFile(uintptr(fd), dir), mark}, nil
}
