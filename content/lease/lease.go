package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/internal/cleanup"
	"github.com/veneer-build/veneer/internal/fault"
)

const (
	// Prefix begins the names of the leases and ingests that Veneer makes in an
	// engine. [Sweep] knows them by it.
	Prefix = "veneer-"

	// LabelPrefix begins the name of every label that Veneer gives to an
	// engine's objects.
	LabelPrefix = "veneer.build/"

	// LabelTemporary is on every snapshot that ends with the operation that
	// made it. Its value says what the snapshot is for.
	LabelTemporary = LabelPrefix + "temporary"
)

// labelExpire is when the engine may end a lease by itself (containerd
// docs/garbage-collection.md).
const labelExpire = "containerd.io/gc.expire"

const (
	// life is how long a lease lasts at most, in case that nobody ends it. The
	// daemon measures it by its own clock from a time that our clock told. A
	// day is enough for a long build on clocks that differ.
	life = 24 * time.Hour

	// timeout bounds a call that makes or ends a lease. Ending one may have to
	// wait for the garbage collector.
	timeout = 30 * time.Second
)

// Release ends a lease. It works after the context was cancelled, and it may
// be called more than once. With [leases.SynchronousDelete] it returns when the
// engine has removed what only this lease kept. That costs a collection: it is
// for failures, after which nothing may be left.
type Release func(ctx context.Context, opts ...leases.DeleteOpt) error

// New makes a lease and returns a context with it: what is written with that
// context stays until Release. If ctx has a lease already, that one is used and
// Release does nothing. The lease says which process it belongs to, so that
// [Sweep] can tell a build that was killed from one that runs.
func New(ctx context.Context, ls leases.Manager) (context.Context, Release, error) {
	if _, ok := leases.FromContext(ctx); ok {
		return ctx, func(context.Context, ...leases.DeleteOpt) error { return nil }, nil
	}
	id := NewID()
	release, err := create(ctx, ls, id, leases.WithExpiration(life))
	if err != nil {
		return nil, nil, err
	}
	return leases.WithLease(ctx, id), release, nil
}

// NewID returns the name of a new lease.
func NewID() string { return Prefix + rand.Text() }

// create makes a lease that says which process it belongs to.
func create(ctx context.Context, ls leases.Manager, id string, opts ...leases.Opt) (Release, error) {
	owner, err := thisProcess()
	if err != nil {
		return nil, fmt.Errorf("create lease: %w", err)
	}
	lease := leases.Lease{ID: id}
	release := releaseOf(ls, lease)
	opts = append(opts, leases.WithID(lease.ID), leases.WithLabels(owner.labels()))
	if err := createSurely(ctx, ls, opts...); err != nil {
		// The lease may be there all the same: the answer can be lost after
		// the work was done.
		return nil, errors.Join(fmt.Errorf("create lease: %w", err), release(ctx))
	}
	return release, nil
}

func releaseOf(ls leases.Manager, lease leases.Lease) Release {
	return func(ctx context.Context, opts ...leases.DeleteOpt) error {
		ctx, cancel := cleanup.Context(ctx, timeout)
		defer cancel()
		if err := ls.Delete(ctx, lease, opts...); err != nil && !errdefs.IsNotFound(err) {
			return &fault.Error{Kind: fault.ErrLeftBehind, Op: "end lease", Ref: lease.ID, Err: err}
		}
		return nil
	}
}

// createSurely waits for the answer even if ctx ends meanwhile. Otherwise the
// daemon could be told first to delete the lease and make it after that. The
// name is new and nobody else's. So if the lease is there already, an earlier
// try made it, and its answer was lost.
func createSurely(ctx context.Context, ls leases.Manager, opts ...leases.Opt) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := cleanup.Context(ctx, timeout)
	defer cancel()
	_, err := ls.Create(ctx, opts...)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Check returns an error if ctx's lease is gone, or about to end: then the
// engine may have removed what was written under it. It takes a build of a day
// to get there, or a clock that was set forward by a day. Without a lease there
// is nothing to check.
func Check(ctx context.Context, ls leases.Manager) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return nil
	}
	found, err := ls.List(ctx, "id=="+id)
	if err != nil {
		return fmt.Errorf("look up lease: %w", err)
	}
	if len(found) == 0 {
		return fmt.Errorf("lease %s is gone, and with it what was written; was the clock set, or did this take longer than %s? Try again: %w", id, life, errdefs.ErrNotFound)
	}
	expire, err := time.Parse(time.RFC3339, found[0].Labels[labelExpire])
	if err == nil && time.Now().After(expire.Add(-time.Minute)) {
		return fmt.Errorf("lease %s ends at %s, so that what was written may be gone; was the clock set, or did this take longer than %s? Try again: %w", id, expire.Format(time.RFC3339), life, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// AddBlob makes ctx's lease keep a blob, whether the blob is there yet or not.
// So a caller adds first and looks after that: what it finds then stays.
// Without a lease it does nothing.
func AddBlob(ctx context.Context, ls leases.Manager, blob digest.Digest) error {
	return add(ctx, ls, blobResource(blob))
}

// AddSnapshot is [AddBlob] for a snapshot.
func AddSnapshot(ctx context.Context, ls leases.Manager, snapshotter, key string) error {
	return add(ctx, ls, snapshotResource(snapshotter, key))
}

func add(ctx context.Context, ls leases.Manager, r leases.Resource) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return nil
	}
	return ls.AddResource(ctx, leases.Lease{ID: id}, r)
}

// The types of resources as containerd names them (containerd
// core/metadata/leases.go, parseLeaseResource).
const typeBlob = "content"

func blobResource(blob digest.Digest) leases.Resource {
	return leases.Resource{Type: typeBlob, ID: blob.String()}
}

func snapshotResource(snapshotter, key string) leases.Resource {
	return leases.Resource{Type: "snapshots/" + snapshotter, ID: key}
}

func ingestResource(ref string) leases.Resource {
	return leases.Resource{Type: "ingests", ID: ref}
}
