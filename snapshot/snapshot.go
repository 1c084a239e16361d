package snapshot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/internal/cleanup"
	"github.com/veneer-build/veneer/internal/fault"
)

// ErrGone means that the snapshotter knows a snapshot, but its files are gone. No
// snapshot can be made on it. Removing it and unpacking it again helps.
var ErrGone = errors.New("the snapshot's files are gone")

// cleanupTimeout bounds what is undone after the context that asked for it ended.
const cleanupTimeout = 30 * time.Second

// ChainID returns the name of the snapshot of a layer on a parent. The parent is
// empty for the bottom layer (image-spec config.md, "Layer ChainID").
func ChainID(parent, diffID digest.Digest) digest.Digest {
	if parent == "" {
		return diffID
	}
	return identity.ChainID([]digest.Digest{parent, diffID})
}

// Exists reports whether the committed snapshot of a chain ID exists.
func Exists(ctx context.Context, sn snapshots.Snapshotter, chainID string) (bool, error) {
	if sn == nil {
		return false, errNoSnapshotter
	}
	info, err := sn.Stat(ctx, chainID)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for snapshot %s: %w", chainID, err)
	}
	if info.Kind != snapshots.KindCommitted {
		return false, fmt.Errorf("look for snapshot %s: it is %s, not committed", chainID, info.Kind)
	}
	return true, nil
}

// errNoSnapshotter is returned for a nil snapshotter. The embedded engine's client
// returns nil for a name that it does not know.
var errNoSnapshotter = fmt.Errorf("open snapshotter: %w", errdefs.ErrNotFound)

// service returns the client's snapshotter. The embedded engine's client has
// none under a name that it does not know.
func service(c *client.Client, name string) (snapshots.Snapshotter, error) {
	sn := c.SnapshotService(name)
	if sn == nil {
		return nil, fmt.Errorf("open snapshotter %q: %w", name, errdefs.ErrNotFound)
	}
	return sn, nil
}

// active is a writable snapshot or a view that only this operation uses.
type active struct {
	sn     snapshots.Snapshotter
	key    string
	mounts []mount.Mount
	// spare: the chain's snapshot existed already when this one was committed.
	spare bool
}

// prepare makes a writable snapshot on parent (empty: on nothing).
func prepare(ctx context.Context, sn snapshots.Snapshotter, purpose, parent string) (*active, error) {
	return create(ctx, sn, purpose, parent, sn.Prepare)
}

// view makes a read-only one. Of nothing, nydus-snapshotter refuses it: there it is a
// writable one, which is as empty, with its mounts made read-only.
func view(ctx context.Context, sn snapshots.Snapshotter, purpose, parent string) (*active, error) {
	a, err := create(ctx, sn, purpose, parent, sn.View)
	if parent != "" || !errdefs.IsNotFound(err) {
		return a, err
	}
	if a, err = prepare(ctx, sn, purpose, parent); err != nil {
		return nil, err
	}
	for i, m := range a.mounts {
		options := slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "rw" })
		a.mounts[i].Options = append(options, "ro")
	}
	return a, nil
}

type createFunc func(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error)

func create(ctx context.Context, sn snapshots.Snapshotter, purpose, parent string, call createFunc) (*active, error) {
	// The embedded engine's stores do not look at the context.
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("prepare snapshot for %s: %w", purpose, err)
	}
	a := &active{sn: sn, key: lease.Prefix + purpose + "-" + rand.Text()}
	mounts, err := call(ctx, a.key, parent, snapshots.WithLabels(map[string]string{lease.LabelTemporary: purpose}))
	if err != nil {
		// A daemon's error has only the text.
		if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), unix.ENOENT.Error()) {
			err = fmt.Errorf("%w: %w", ErrGone, err)
		}
		// The call may have worked and only its answer be lost, as when ctx ended.
		err = fmt.Errorf("prepare snapshot for %s on %s: %w", purpose, orScratch(parent), err)
		return nil, errors.Join(err, a.remove(ctx))
	}
	a.mounts = mounts
	return a, nil
}

func orScratch(parent string) string {
	if parent == "" {
		return "scratch"
	}
	return parent
}

// commit commits the snapshot under a name. If the name is taken, that is no error: it
// is derived from the content, so the other snapshot is the same. The caller calls
// [active.remove] in any case.
func (a *active) commit(ctx context.Context, name string, opts ...snapshots.Opt) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit snapshot %s: %w", name, err)
	}
	err := a.sn.Commit(ctx, name, a.key, opts...)
	if a.spare = errdefs.IsAlreadyExists(err); err != nil && !a.spare {
		return fmt.Errorf("commit snapshot %s: %w", name, err)
	}
	return nil
}

// remove removes the snapshot, unless it was committed or removed already. It works
// after ctx ended, too.
func (a *active) remove(ctx context.Context) error {
	ctx, cancel := cleanup.Context(ctx, cleanupTimeout)
	defer cancel()
	if err := a.sn.Remove(ctx, a.key); err != nil && !errdefs.IsNotFound(err) {
		return &fault.Error{Kind: fault.ErrLeftBehind, Op: "remove temporary snapshot", Ref: a.key, Err: err}
	}
	return nil
}
