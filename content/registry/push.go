package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/veneer-build/veneer/content"
)

// maxUploads is how many blobs are pushed at once, as Docker does it.
const maxUploads = 5

// Push sends a stored image to the registry that its name says and returns
// what the name then stands for there. Blobs that the registry has are not
// sent; those that containerd knows to be in another repository of it are
// mounted from there. Manifests follow their blobs. Passing failures are
// retried, see [Options].Backoff.
//
// Of a multi-platform image all of it is pushed, or with Options.Platform the
// one manifest. An image whose base layers are not in the store can be pushed
// to where they are already.
func Push(ctx context.Context, c *client.Client, name string, opts Options) (_ ocispec.Descriptor, retErr error) {
	ctx, release, err := content.NewLease(ctx, c)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { retErr = errors.Join(retErr, release(ctx)) }()
	ref, err := content.Normalize(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	target, err := pushTarget(ctx, c, name, opts.Platform)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	err = retry(ctx, opts.Backoff, func() error { return pushOnce(ctx, c, ref, target, opts) })
	switch {
	case errdefs.IsNotFound(err):
		return ocispec.Descriptor{}, fmt.Errorf("push %s: the registry lacks content that this engine does not have either (veneer pull the base image first; of a multi-platform image, push one with --platform): %w", ref, err)
	case err != nil:
		return ocispec.Descriptor{}, explain("push", ref, err)
	}
	return target, nil
}

// pushTarget is what to push: the record's target, or a platform's manifest.
// All of it is read and checked, and held until the push is over.
func pushTarget(ctx context.Context, c *client.Client, name, platform string) (ocispec.Descriptor, error) {
	img, err := content.Resolve(ctx, c, name, platform)
	if err != nil && platform == "" && errdefs.IsNotFound(err) {
		// It may have just platforms other than this host's, which is fine.
		record, getErr := content.Lookup(ctx, c, name)
		if getErr != nil || !images.IsIndexType(record.Target.MediaType) {
			return ocispec.Descriptor{}, err
		}
		return record.Target, nil
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if img.IsScratch() {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: it is empty and never stored: %w", name, errdefs.ErrInvalidArgument)
	}
	if err := content.Hold(ctx, c, img); err != nil {
		return ocispec.Descriptor{}, err
	}
	if platform != "" {
		return img.Manifest, nil
	}
	return img.Record.Target, nil
}

// pushOnce sends what the registry lacks. Its memory of what was sent is its
// own, so that a retry asks the registry again.
func pushOnce(ctx context.Context, c *client.Client, ref string, target ocispec.Descriptor, opts Options) error {
	resolver, err := Resolver(ctx, opts)
	if err != nil {
		return err
	}
	// With the digest the name itself is set for the target alone, and not
	// for each manifest of an index.
	if !strings.Contains(ref, "@") {
		ref += "@" + target.Digest.String()
	}
	to, err := resolver.Pusher(ctx, ref)
	if err != nil {
		return err
	}
	return remotes.PushContent(ctx, pusher{to, opts.Progress}, target, c.ContentStore(), semaphore.NewWeighted(maxUploads), platforms.All, nil)
}
