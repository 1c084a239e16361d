package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/thread"
)

// shownName is where a daemon finds the stage whose mounts are not this process's.
const shownName = "shown"

// show lets the daemon see the stage. What this process mounts in a namespace of
// its own (see snapshot.PrivateMounts), the daemon's shims do not see: then a
// copy of the stage is mounted where they do, until the sandbox is closed.
func (r *daemon) show(ctx context.Context, s *sandbox) error {
	if err := r.engine.Sees(ctx, s.dir); err != nil {
		return &MissingError{What: "a containerd that sees this process's files", Advice: "run veneer as root where containerd runs, or use the embedded engine", Err: err}
	}
	theirs, err := r.engine.MountNamespace(ctx)
	if err != nil || theirs == nil {
		return err
	}
	at := filepath.Join(s.dir, shownName)
	if err := os.Mkdir(at, 0o700); err != nil {
		return errors.Join(err, theirs.Close())
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, filepath.Join(s.dir, stageName), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return errors.Join(mountError(at, err), theirs.Close())
	}
	s.undo = append(s.undo, func() error {
		err := within(theirs, func() error { return detach(at) })
		return errors.Join(err, theirs.Close())
	})
	err = within(theirs, func() error {
		return unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
	})
	if err := errors.Join(err, unix.Close(tree)); err != nil {
		return mountError(at, err)
	}
	s.shown = at
	return nil
}

// detach unmounts what is mounted there, and below it; nothing is no error.
func detach(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	return nil
}

// within calls do on a thread in another mount namespace. It must start no
// goroutine that matters: that would not be there.
func within(namespace *os.File, do func() error) error {
	return thread.Own(func() error {
		// Threads that share their working directory cannot leave the namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare working directory: %w", err)
		}
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter the mount namespace of containerd: %w", err)
		}
		return do()
	})
}
