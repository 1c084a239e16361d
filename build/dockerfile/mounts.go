package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/snapshot"
)

// mounting is what a step's mounts need until its process has ended.
type mounting struct {
	*execStep
	// dir is a directory in memory, for secrets and sockets; empty: not needed yet.
	dir  string
	ends []func() error
}

// end lets go of what the mounts needed.
func (m *mounting) end() error {
	var errs []error
	for _, end := range slices.Backward(m.ends) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

// mounts returns the mounts of the process. The caller must call release, even
// after an error.
func (x *execStep) mounts(ctx context.Context) (_ []run.Mount, release func() error, _ error) {
	m := &mounting{execStep: x}
	release = m.end
	var all []run.Mount
	for _, op := range x.op.Mounts {
		if op.Dest == "/" || op.Dest == "/dev/shm" && op.MountType == pb.MountType_TMPFS {
			continue
		}
		one, err := m.mount(ctx, op)
		if err != nil {
			return nil, release, fmt.Errorf("mount %s: %w", op.Dest, err)
		}
		if one != nil {
			one.Target = path.Join("/", x.op.Meta.Cwd, op.Dest)
			if path.IsAbs(op.Dest) {
				one.Target = path.Clean(op.Dest)
			}
			all = append(all, *one)
		}
	}
	return all, release, nil
}

// mount returns one mount. It returns nil for an optional mount whose source does
// not exist.
func (m *mounting) mount(ctx context.Context, op *pb.Mount) (*run.Mount, error) {
	switch op.MountType {
	case pb.MountType_BIND:
		return m.bind(ctx, op)
	case pb.MountType_TMPFS:
		return &run.Mount{Source: tmpfs(op.GetTmpfsOpt().GetSize())}, nil
	case pb.MountType_CACHE:
		return m.cache(ctx, op)
	case pb.MountType_SECRET:
		return m.secret(ctx, op.SecretOpt)
	case pb.MountType_SSH:
		return m.ssh(ctx, op.SSHOpt)
	}
	return nil, fmt.Errorf("a mount of type %s is not supported", op.MountType)
}

func tmpfs(size int64) []mount.Mount {
	m := mount.Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev"}}
	if size > 0 {
		m.Options = append(m.Options, fmt.Sprintf("size=%d", size))
	}
	return []mount.Mount{m}
}

func bindMount(source string, readOnly bool) []mount.Mount {
	o := "rw"
	if readOnly {
		o = "ro"
	}
	return []mount.Mount{{Type: "bind", Source: source, Options: []string{"rbind", o}}}
}

// bind mounts files of another step or of the build context. What the process
// writes there is thrown away.
func (m *mounting) bind(ctx context.Context, op *pb.Mount) (*run.Mount, error) {
	in := scratch()
	if op.Input >= 0 {
		in = m.inputs[op.Input]
	}
	if in.source != nil {
		made, err := m.s.unpackSource(ctx, in, path.Join("/", op.Selector), false)
		if err != nil {
			return nil, err
		}
		in = in.next(made)
	}
	open := snapshot.NewWork
	if op.Readonly && in.snapshot != "" {
		open = snapshot.NewReading
	}
	w, err := open(ctx, m.s.client(), m.s.engine().Snapshotter, in.snapshot)
	if err != nil {
		return nil, err
	}
	m.ends = append(m.ends, func() error { return w.Close(ctx) })
	if !op.Readonly {
		if err := m.s.keepTimesOf(ctx, w, in); err != nil {
			return nil, err
		}
	}
	sub := path.Join("/", op.Selector)
	if sub == "/" {
		sub = ""
	}
	return &run.Mount{Source: w.Mounts(), Subpath: sub, ReadOnly: op.Readonly}, nil
}

// based returns a state that steps can be done on: of a source, which may be a build
// context that FROM names, a snapshot of its files.
func (s *solver) based(ctx context.Context, st *state, layered bool) (*state, error) {
	if st.source == nil {
		return st, nil
	}
	m, err := s.unpackSource(ctx, st, "/", layered)
	if err != nil {
		return nil, err
	}
	return scratch().next(m), nil
}

// unpackSource makes a snapshot of a part of a source, at its path there.
func (s *solver) unpackSource(ctx context.Context, src *state, at string, layered bool) (_ *graph.Made, err error) {
	h := graph.NewHash("mounted source 1")
	h.AddString(at)
	if err := s.sums(src.source).part(ctx, h, src.source.tree, at); err != nil {
		return nil, err
	}
	key := s.keyed(h.Key()).of(layered)
	if m, err := s.cache.Lookup(ctx, key, layered); m != nil || err != nil {
		return m, err
	}
	part, err := differ.Subtree(ctx, kept{src.source.tree}, at)
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", src.source.name, err)
	}
	m, err := s.snapshotOf(ctx, differ.Target{
		Op: differ.Copy, Name: src.source.name, Source: part, SourceBase: path.Base(at), Dest: at,
		Owner: differ.OwnerSource, Cache: src.source.cache,
	}, layered)
	if err != nil {
		return nil, err
	}
	return m, s.cache.Keep(ctx, key, *m)
}

// snapshotOf makes a snapshot of files alone.
func (s *solver) snapshotOf(ctx context.Context, t differ.Target, layered bool) (_ *graph.Made, err error) {
	base, err := s.openSnapshot(ctx, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	changes, err := differ.NewChanges(ctx, base)
	if err != nil {
		return nil, err
	}
	if err := changes.Apply(ctx, t, s.session.CompareOptions()); err != nil {
		return nil, err
	}
	return s.write(ctx, changes, scratch(), layered)
}

// memoryDir is a directory in memory that only root may enter, where the
// runtime finds what is in it too. It goes with the step.
func (m *mounting) memoryDir(ctx context.Context) (string, error) {
	if m.dir != "" {
		return m.dir, nil
	}
	// Until it is locked, another build may take it for a killed one's.
	for range memoryTries {
		dir, err := m.makeMemoryDir()
		if err != nil {
			return "", fmt.Errorf("make a directory in memory: %w", err)
		}
		lock, err := lockDir(ctx, dir, pb.CacheSharingOpt_LOCKED)
		if err != nil {
			return "", fmt.Errorf("lock a directory in memory: %w", err)
		}
		m.ends = append(m.ends, lock.Close)
		ours, err := lock.Stat()
		now, nerr := os.Stat(lock.Name())
		if err == nil && nerr == nil && os.SameFile(ours, now) {
			m.dir = dir
			return dir, nil
		}
	}
	return "", errors.New("make a directory in memory: others remove it")
}

// memoryTries is more often than any other build can begin in the moment that a try takes.
const memoryTries = 10

// makeMemoryDir makes the directory, which goes with the step. An ordinary user's is
// a file system of its own, which nobody else sees, and which ends with the process.
func (m *mounting) makeMemoryDir() (string, error) {
	in := runtimeDir
	if run.InUserNamespace() {
		in = filepath.Join(m.s.engine().Root, namespacedMemory)
		if err := os.MkdirAll(in, 0o700); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp(in, memoryPrefix)
	if err != nil {
		return "", err
	}
	m.ends = append(m.ends, func() error { return os.RemoveAll(dir) })
	if !run.InUserNamespace() {
		return dir, nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return "", &os.PathError{Op: "mount tmpfs at", Path: dir, Err: err}
	}
	m.ends = append(m.ends, func() error { return unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, nil
}

// namespacedMemory is where, below the engine's root, those file systems are mounted.
const namespacedMemory = "build/memory"

// memoryPrefix begins the names of those directories. The lock in one ends with
// the process, which is how [SweepMemory] finds those of killed processes.
const memoryPrefix = "veneer-mounts-"

// runtimeDir is in memory, by the Filesystem Hierarchy Standard: what is there
// is never written to a disk, and is gone after a boot.
const runtimeDir = "/run"

// place makes something in memory that a user of the image is to find.
func (m *mounting) place(ctx context.Context, name string, uid, gid, mode uint32, make func(at string) error) (string, error) {
	dir, err := m.memoryDir(ctx)
	if err != nil {
		return "", err
	}
	at := filepath.Join(dir, name)
	if err := make(at); err != nil {
		return "", err
	}
	if err := os.Chown(at, int(uid), int(gid)); err != nil {
		return "", err
	}
	return at, os.Chmod(at, os.FileMode(mode).Perm())
}
