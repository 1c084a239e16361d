package run

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/cleanup"
)

// The names in a sandbox's directory: what the runtime is shown, and beside it
// what it is not.
const (
	stageName  = "stage"  // a mount, private, in which are:
	rootName   = "rootfs" // the root file system
	hostsName  = "hosts"
	resolvName = "resolv.conf"
	netnsName  = "netns" // a network namespace
)

// idPrefix begins the name of a sandbox: of its directory, container and cgroup.
const idPrefix = "veneer-run-"

// sandbox is all that is set up on this host for one process. Its directory is
// locked as long as this process lives, so that [Runner.Sweep] knows what was left.
type sandbox struct {
	id   string
	dir  string
	lock *os.File
	root *os.File // the root directory of the process
	user specs.User
	// mounts are the process's own; the source of a bind is a name on the stage.
	mounts []specs.Mount
	stubs  stubs
	// hostNetwork, or a namespace in netnsName, or one that the runtime makes.
	hostNetwork, netns bool
	// shown is the stage as the runtime finds it; see [sandbox.show].
	shown string
	// undo is what closing does, in reverse.
	undo []func() error
}

// open makes an empty sandbox. The caller closes it, with or without an error.
func (h *host) open() (_ *sandbox, err error) {
	all, err := h.lockAll(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	s := &sandbox{id: idPrefix + strings.ToLower(rand.Text())}
	s.dir = filepath.Join(h.dir, s.id)
	s.shown = filepath.Join(s.dir, stageName)
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(s.dir, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, os.Remove(s.dir))
	}
	return s, nil
}

// stage makes the directory that all mounts are in, a mount itself, which passes
// none of them on to other namespaces.
func (s *sandbox) stage() error {
	dir := filepath.Join(s.dir, stageName)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return mountError(dir, err)
	}
	s.undo = append(s.undo, func() error { return unmount(dir) })
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return mountError(dir, err)
	}
	return nil
}

// fill makes the sandbox for a process, whose root directory is mounted.
func (s *sandbox) fill(p *Process) (err error) {
	if err := s.checkRoot(); err != nil {
		return err
	}
	if s.user, err = findUser(s.root, p.User); err != nil {
		return err
	}
	if err := makeCwd(s.root, p.Cwd, s.user); err != nil {
		return err
	}
	resolv, err := resolvConf(s.hostNetwork)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{hostsName: hostsFile(p), resolvName: resolv} {
		if err := s.writeFile(name, data); err != nil {
			return err
		}
		if err := s.stubs.make(s.root, "/etc/"+name, fileMode); err != nil {
			return fmt.Errorf("make a place for /etc/%s: %w", name, err)
		}
	}
	for i := range p.Mounts {
		if err := s.addMount(p, i); err != nil {
			return fmt.Errorf("mount %s: %w", p.Mounts[i].Target, err)
		}
	}
	return nil
}

// checkRoot is an error where the kernel's file systems would be mounted on
// links. runc (1.1.5 for one) makes the names in /dev wherever a link in its
// place leads on the host.
func (s *sandbox) checkRoot() error {
	for _, name := range []string{"proc", "sys", "dev"} {
		var st unix.Stat_t
		err := unix.Fstatat(int(s.root.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue // The runtime makes it.
		}
		if err != nil {
			return &os.PathError{Op: "stat", Path: "/" + name, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return fmt.Errorf("use the root file system: its /%s is no directory", name)
		}
	}
	return nil
}

// writeFile writes a file for everybody to read, on the stage.
func (s *sandbox) writeFile(name string, data []byte) (err error) {
	f, err := os.OpenFile(s.local(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Chmod(0o644); err != nil { // whatever the umask
		return err
	}
	_, err = f.Write(data)
	return err
}

// local is where this process finds something on the stage, path where the runtime does.
func (s *sandbox) local(name string) string { return filepath.Join(s.dir, stageName, name) }
func (s *sandbox) path(name string) string  { return filepath.Join(s.shown, name) }

// cgroup is the process's own, at the top: nothing has to be made above it that
// would stay.
func (s *sandbox) cgroup() string { return "/" + s.id }

// close removes everything, the last first. An error says that something
// stayed, or that what the process wrote may not be on disk.
func (s *sandbox) close() error {
	var errs []error
	for _, undo := range slices.Backward(s.undo) {
		errs = append(errs, undo())
	}
	errs = append(errs, removeDir(s.dir), s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up after process: %w", err)
	}
	return nil
}

// removeDir removes a sandbox's directory, unless something is mounted in it:
// that would be emptied.
func removeDir(dir string) error {
	found, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("remove %s: %s is still mounted: %w", dir, found[0].Mountpoint, unix.EBUSY)
	}
	return os.RemoveAll(dir)
}

// lockAll locks the directory of all sandboxes, which it makes: shared while one
// is made and has no lock yet, exclusively to find those without.
func (h *host) lockAll(how int) (*os.File, error) {
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, err
	}
	return lockDir(h.dir, how)
}

func lockDir(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
		}
		return f, nil
	}
}

// undoing returns a context that outlives ctx's cancellation, for undoing things.
func undoing(ctx context.Context) (context.Context, context.CancelFunc) {
	return cleanup.Context(ctx, cleanupTimeout)
}
