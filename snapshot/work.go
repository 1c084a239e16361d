package snapshot

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
)

// Work is a snapshot that somebody else mounts: a process, which changes it if
// it is an active one. The lease in ctx keeps it.
type Work struct {
	active   *active
	readOnly bool
}

// NewWork makes an active snapshot on a committed one (empty: on nothing). The
// caller closes it when nothing has it mounted any more.
func NewWork(ctx context.Context, c *client.Client, snapshotter, parent string) (*Work, error) {
	sn, err := service(c, snapshotter)
	if err != nil {
		return nil, err
	}
	a, err := prepare(ctx, sn, "run", parent)
	if err != nil {
		return nil, err
	}
	return &Work{active: a}, nil
}

// NewReading is [NewWork] for what is only read.
func NewReading(ctx context.Context, c *client.Client, snapshotter, parent string) (*Work, error) {
	sn, err := service(c, snapshotter)
	if err != nil {
		return nil, err
	}
	a, err := view(ctx, sn, "mount", parent)
	if err != nil {
		return nil, err
	}
	return &Work{active: a, readOnly: true}, nil
}

// Key is its name.
func (w *Work) Key() string { return w.active.key }

// Mounts are what shows the files.
func (w *Work) Mounts() []mount.Mount { return w.active.mounts }

// Dirs are the directories that a mount of it combines, as far as it is one of
// directories.
func (w *Work) Dirs() []string {
	d, err := plain(w.active.mounts)
	if err != nil {
		return nil
	}
	if d.upper != "" {
		return append([]string{d.upper}, d.lower...)
	}
	return d.lower
}

// Find returns the directories of an active one, see [FindActive].
func (w *Work) Find(ctx context.Context) (*Active, error) {
	return FindActive(ctx, w.active.sn, w.active.key)
}

// Commit makes a committed snapshot of an active one, durably, under a name
// that nobody has taken.
func (w *Work) Commit(ctx context.Context, name string) error {
	if w.readOnly {
		return fmt.Errorf("commit snapshot %s: it is only read", name)
	}
	found, err := w.Find(ctx)
	if err != nil {
		return err
	}
	if err := syncFS(found.Dirs[0]); err != nil {
		return fmt.Errorf("commit snapshot %s: %w", name, err)
	}
	if err := w.active.commit(ctx, name); err != nil {
		return err
	}
	if w.active.spare {
		return errors.New("commit snapshot " + name + ": there is one of that name")
	}
	return nil
}

// Close removes it, unless it was committed.
func (w *Work) Close(ctx context.Context) error { return w.active.remove(ctx) }

// RemoveWork removes a work of another process, if it is there.
func RemoveWork(ctx context.Context, c *client.Client, snapshotter, key string) error {
	sn, err := service(c, snapshotter)
	if err != nil {
		return err
	}
	return (&active{sn: sn, key: key}).remove(ctx)
}
