package content

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// labelExpire is when the engine may end a lease by itself (containerd
// docs/garbage-collection.md).
const labelExpire = "containerd.io/gc.expire"

const (
	// leaseLife is when the engine may end a lease by itself. It is measured
	// by the daemon's clock from a time that ours made; a day forgives both a
	// long build and clocks that differ.
	leaseLife = 24 * time.Hour

	// releaseTimeout bounds the end of a lease, which may have to wait for
	// the garbage collector.
	releaseTimeout = 30 * time.Second
)

// Release ends a lease. It works after the context was cancelled, and it may
// be called more than once. With [leases.SynchronousDelete] it returns when
// what only the lease held has been collected: that is for failures, after
// which nothing may be left, and costs a collection.
type Release func(ctx context.Context, opts ...leases.DeleteOpt) error

// NewLease returns a context under whose lease everything that is written
// stays until Release. If ctx has a lease, that one is used and Release does
// nothing. The lease says which process it belongs to, so that [Sweep] can
// tell a build that was killed from one that runs.
func NewLease(ctx context.Context, c *client.Client) (context.Context, Release, error) {
	if _, ok := leases.FromContext(ctx); ok {
		return ctx, func(context.Context, ...leases.DeleteOpt) error { return nil }, nil
	}
	id, release, err := newLease(ctx, c, leases.WithExpiration(leaseLife))
	if err != nil {
		return nil, nil, err
	}
	return leases.WithLease(ctx, id), release, nil
}

// newLease creates a lease that says which process it belongs to.
func newLease(ctx context.Context, c *client.Client, opts ...leases.Opt) (id string, _ Release, err error) {
	owner, err := thisProcess()
	if err != nil {
		return "", nil, fmt.Errorf("create lease: %w", err)
	}
	lease := leases.Lease{ID: Prefix + rand.Text()}
	release := releaseOf(c, lease)
	opts = append(opts, leases.WithID(lease.ID), leases.WithLabels(owner.labels()))
	if err := createLease(ctx, c.LeasesService(), opts...); err != nil {
		// The answer may be lost of a call that did its work.
		return "", nil, errors.Join(fmt.Errorf("create lease: %w", err), release(ctx))
	}
	return lease.ID, release, nil
}

func releaseOf(c *client.Client, lease leases.Lease) Release {
	return func(ctx context.Context, opts ...leases.DeleteOpt) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := c.LeasesService().Delete(ctx, lease, opts...); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("end lease %s (veneer prune removes it): %w", lease.ID, err)
		}
		return nil
	}
}

// createLease waits for the answer also when ctx ends: the daemon could make
// the lease after it was told to delete it. That there is one already is the
// answer that was lost, since the name is ours alone.
func createLease(ctx context.Context, ls leases.Manager, opts ...leases.Opt) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_, err := ls.Create(ctx, opts...)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// checkLease is an error if ctx's lease is not there any more, or about to end:
// then the engine may have collected what was written under it. That takes a
// build of a day, or a clock that was set forward by one.
func checkLease(ctx context.Context, c *client.Client) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return nil
	}
	found, err := c.LeasesService().List(ctx, "id=="+id)
	if err != nil {
		return fmt.Errorf("look up lease: %w", err)
	}
	if len(found) == 0 {
		return fmt.Errorf("lease %s is gone, and with it what was written; was the clock set, or did this take longer than %s? Try again: %w", id, leaseLife, errdefs.ErrNotFound)
	}
	expire, err := time.Parse(time.RFC3339, found[0].Labels[labelExpire])
	if err == nil && time.Now().After(expire.Add(-time.Minute)) {
		return fmt.Errorf("lease %s ends at %s, so that what was written may be gone; was the clock set, or did this take longer than %s? Try again: %w", id, expire.Format(time.RFC3339), leaseLife, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// Hold adds an image's documents and layer blobs to ctx's lease, so that
// nobody who removes the image meanwhile takes them from under a build. It is
// an error if that was done since the image was resolved. Without a lease it
// does nothing.
func Hold(ctx context.Context, c *client.Client, img *Image) error {
	id, ok := leases.FromContext(ctx)
	if !ok || img.IsScratch() {
		return nil
	}
	blobs := append([]ocispec.Descriptor{img.Manifest, img.ConfigDesc}, img.Layers...)
	if img.Record.Target.Digest != "" && img.Record.Target.Digest != img.Manifest.Digest {
		blobs = append(blobs, img.Record.Target)
	}
	for _, b := range blobs {
		r := leases.Resource{Type: "content", ID: b.Digest.String()}
		if err := c.LeasesService().AddResource(ctx, leases.Lease{ID: id}, r); err != nil {
			return fmt.Errorf("hold %s of %s: %w", b.Digest, img.Name, err)
		}
		// First the lease, then the look: the lease takes what is not there, too.
		_, err := c.ContentStore().Info(ctx, b.Digest)
		if errdefs.IsNotFound(err) && !img.lacks(b.Digest) {
			return fmt.Errorf("image %s was removed while it was looked up (pull or load it again): %w", cmp.Or(img.Name, string(img.Manifest.Digest)), err)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("hold %s of %s: %w", b.Digest, img.Name, err)
		}
	}
	return nil
}
