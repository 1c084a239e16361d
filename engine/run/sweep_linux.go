package run

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// left is a sandbox whose process has ended. It is locked, so that no other process
// takes it.
type left struct {
	id, dir string
	lock    *os.File
}

// left finds the sandboxes that no process has locked, and locks them. The caller
// closes the locks.
func (h *host) left() (_ []left, err error) {
	if _, err := os.Stat(h.dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	all, err := h.lockAll(unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return nil, err
	}
	var found []left
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), idPrefix) {
			continue
		}
		l := left{id: entry.Name(), dir: filepath.Join(h.dir, entry.Name())}
		if l.lock, err = lockDir(l.dir, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			continue // It is in use, or just going.
		}
		found = append(found, l)
	}
	return found, nil
}

// sweep removes the sandboxes that were left. Before, it calls prepare for each.
func (h *host) sweep(ctx context.Context, prepare func(left) error) ([]string, error) {
	found, err := h.left()
	if err != nil {
		return nil, fmt.Errorf("look for what killed processes left: %w", err)
	}
	var names []string
	var errs []error
	for _, l := range found {
		err := errors.Join(prepare(l), h.killRunc(ctx, l), h.disconnect(ctx, l.id, filepath.Join(l.dir, stageName, netnsName)))
		if err == nil {
			err = errors.Join(unmountAll(l.dir), removeCgroups(cgroupRoot, l.id), removeDir(l.dir))
		}
		if err = errors.Join(err, l.lock.Close()); err != nil {
			errs = append(errs, fmt.Errorf("remove what a killed process left, %s: %w", l.id, err))
			continue
		}
		names = append(names, l.id)
	}
	return names, errors.Join(errs...)
}

// Left implements [Runner].
func (h *host) Left(context.Context) ([]string, error) {
	found, err := h.left()
	var names []string
	for _, l := range found {
		names = append(names, l.id)
		err = errors.Join(err, l.lock.Close())
	}
	return names, err
}

// killRunc ends the container that runc has for a sandbox. It does so even if
// another engine is in use now.
func (h *host) killRunc(ctx context.Context, l left) error {
	if _, err := os.Stat(filepath.Join(l.dir, "state", l.id)); err != nil {
		return nil //nolint:nilerr // There is none.
	}
	command, err := findRunc(h.runc)
	if err != nil {
		return err
	}
	return runcIn(command, l.dir).Delete(ctx, l.id, &runc.DeleteOpts{Force: true})
}

// Sweep implements [Runner].
func (r *embedded) Sweep(ctx context.Context) ([]string, error) {
	return r.sweep(ctx, func(left) error { return nil })
}

// Sweep implements [Runner].
func (r *daemon) Sweep(ctx context.Context) ([]string, error) {
	ctx = r.engine.Context(ctx)
	theirs, err := r.engine.MountNamespace(ctx)
	if err != nil {
		return nil, err
	}
	names, err := r.sweep(ctx, func(l left) error { return r.endContainer(ctx, l, theirs) })
	if theirs != nil {
		err = errors.Join(err, theirs.Close())
	}
	more, moreErr := r.sweepContainers(ctx)
	names = append(names, more...)
	slices.Sort(names)
	return slices.Compact(names), errors.Join(err, moreErr)
}

// Left implements [Runner].
func (r *daemon) Left(ctx context.Context) ([]string, error) {
	names, err := r.host.Left(ctx)
	orphans, orphansErr := r.orphans(r.engine.Context(ctx))
	for _, c := range orphans {
		names = append(names, c.ID())
	}
	slices.Sort(names)
	return slices.Compact(names), errors.Join(err, orphansErr)
}

// endContainer removes the container of a sandbox, and the mounts that it was shown.
func (r *daemon) endContainer(ctx context.Context, l left, theirs *os.File) error {
	c, err := r.engine.Client.LoadContainer(ctx, l.id)
	if err == nil {
		err = removeContainer(ctx, c, nil)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if theirs == nil {
		return nil
	}
	return within(theirs, func() error { return detach(filepath.Join(l.dir, shownName)) })
}

// sweepContainers removes containers whose sandbox is gone.
func (r *daemon) sweepContainers(ctx context.Context) ([]string, error) {
	found, err := r.orphans(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	var errs []error
	for _, c := range found {
		if err := removeContainer(ctx, c, nil); err != nil {
			errs = append(errs, err)
			continue
		}
		names = append(names, c.ID())
	}
	return names, errors.Join(errs...)
}

// orphans returns the containers of this root that have no sandbox. A container is
// made after its sandbox and removed before it, so these were left.
func (r *daemon) orphans(ctx context.Context) ([]client.Container, error) {
	owner, err := r.owner()
	if err != nil {
		return nil, err
	}
	all, err := r.engine.Client.Containers(ctx, fmt.Sprintf("labels.%q==%q", labelOwner, owner))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return slices.DeleteFunc(all, func(c client.Container) bool {
		_, err := os.Lstat(filepath.Join(r.dir, c.ID()))
		return !errors.Is(err, fs.ErrNotExist)
	}), nil
}

// owner returns the name of this root for a daemon. The daemon may know other roots
// with the same path, of other hosts and containers.
func (h *host) owner() (string, error) {
	path := filepath.Join(h.dir, "owner")
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		return string(data), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return "", err
	}
	// If two processes do this at once, the name of one of them stays.
	temp := path + "-" + rand.Text()
	err = os.WriteFile(temp, []byte(rand.Text()), 0o600)
	if err == nil {
		err = os.Link(temp, path)
	}
	if rerr := os.Remove(temp); err == nil || errors.Is(err, fs.ErrExist) {
		err = rerr
	}
	if err != nil {
		return "", fmt.Errorf("name %s: %w", h.dir, err)
	}
	data, err = os.ReadFile(path)
	return string(data), err
}

// unmountAll unmounts all below a directory, the last first.
func unmountAll(dir string) error {
	found, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range slices.Backward(found) {
		errs = append(errs, detach(m.Mountpoint))
	}
	return errors.Join(errs...)
}

// removeCgroups removes the empty cgroups that runc was killed before it removed.
func removeCgroups(root, id string) error {
	found, err := filepath.Glob(filepath.Join(root, "*", id))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range append(found, filepath.Join(root, id)) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, &fs.PathError{Op: "rmdir", Path: dir, Err: err})
		}
	}
	return errors.Join(errs...)
}
