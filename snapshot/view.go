package snapshot

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
)

// View is a chain's root file system, mounted read-only for this process.
type View struct {
	mount  *tempMount
	remove func() error
	closed bool
}

// OpenView mounts the root file system of a chain. For the empty chain (scratch) it is
// an empty directory, which needs no right to mount. The caller closes the view, even
// after ctx ended. The lease in ctx keeps the chain while the view is open.
func OpenView(ctx context.Context, sn snapshots.Snapshotter, chainID string) (*View, error) {
	if chainID == "" {
		m, err := mountTemp(nil)
		if err != nil {
			return nil, fmt.Errorf("open view of scratch: %w", err)
		}
		return &View{mount: m, remove: func() error { return nil }}, nil
	}
	if sn == nil {
		return nil, errNoSnapshotter
	}
	a, err := view(ctx, sn, "view", chainID)
	if err != nil {
		return nil, err
	}
	m, err := mountTemp(a.mounts)
	if err != nil {
		err = fmt.Errorf("open view of snapshot %s: %w", chainID, err)
		if rerr := a.remove(ctx); rerr != nil {
			err = fmt.Errorf("%w (and %w)", err, rerr)
		}
		return nil, err
	}
	return &View{mount: m, remove: func() error { return a.remove(ctx) }}, nil
}

// Dir is the root file system's directory. It lies in a directory that only
// its owner may enter, since it may hold set-user-ID files.
func (v *View) Dir() string { return v.mount.dir }

// Close unmounts the view and removes its snapshot. Nothing below Dir may be
// open any more: a busy mount is tried again for a few seconds and then
// reported, and Close can be called again. After success it does nothing.
func (v *View) Close() error {
	if v.closed {
		return nil
	}
	if err := v.mount.Close(); err != nil {
		return fmt.Errorf("close view: %w", err)
	}
	if err := v.remove(); err != nil {
		return fmt.Errorf("close view: %w", err)
	}
	v.closed = true
	return nil
}
