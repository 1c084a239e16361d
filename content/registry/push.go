package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/internal/fault"
)

// maxUploads is the number of blobs that are pushed at the same time, as in Docker.
const maxUploads = 5

// Engine is the engine that images are pulled to and pushed from. A containerd
// client is one.
type Engine interface {
	content.Finder
	content.Recorder
}

// Push sends a stored image to the registry in its name, and returns the descriptor
// that the name has there afterwards. Blobs that the registry has are not sent.
// Blobs that containerd knows to be in another repository of the registry are
// mounted from there. Manifests follow their blobs. Temporary failures are retried,
// see [Options].Backoff. A registry that keeps what a tag meant before is an error.
//
// A multi-platform image is pushed whole, or with Options.Platform as the one
// manifest. An image whose base layers are not stored here can be pushed to a
// registry that has them.
func Push(ctx context.Context, e Engine, name string, opts Options) (_ ocispec.Descriptor, retErr error) {
	ctx, release, err := lease.New(ctx, e.LeasesService())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { retErr = errors.Join(retErr, release(ctx)) }()
	ref, err := content.Normalize(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	target, err := pushTarget(ctx, e, name, opts.Platform)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	encryption, err := content.EncryptionOf(ctx, e.ContentStore(), target)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", ref, err)
	}
	if text := encryption.Warning(); text != "" && opts.Notify != nil {
		opts.Notify("warning: " + ref + ": " + text)
	}
	var there tally
	r := opts.retrier()
	r.progress, r.step, r.push = there.count, 1, true
	forgotten := 0
	err = r.do(ctx, func(ctx context.Context) error {
		err := pushOnce(ctx, e, ref, target, opts, &there)
		if forgotten++; forgotten <= maxForgotten && forgot(err) {
			attemptOf(ctx).passes()
		}
		return err
	})
	switch {
	case errdefs.IsNotFound(err) && statusOf(err) == 0:
		return ocispec.Descriptor{}, &fault.Error{Kind: ErrLacks, Ref: ref, Err: fmt.Errorf("push %s: the registry lacks content that this engine does not have either: %w", ref, redact(err))}
	case err != nil:
		return ocispec.Descriptor{}, explain("push", ref, err)
	}
	if err := labelPushed(ctx, e.ContentStore(), ref, target); err != nil {
		return ocispec.Descriptor{}, err
	}
	return target, checkTag(ctx, ref, target, opts)
}

// labelPushed labels the pushed blobs with their place in the registry, as a pull
// does, so that a push to another repository of the registry can mount them. Blobs
// that are not stored here get no labels.
func labelPushed(ctx context.Context, store cstore.Store, ref string, target ocispec.Descriptor) error {
	source, err := docker.AppendDistributionSourceLabel(store, ref)
	if err != nil {
		return fmt.Errorf("pushed %s, but cannot label it: %w", ref, err)
	}
	below := content.ChildrenHandler(store)
	err = images.Walk(ctx, images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		_, err := source(ctx, d)
		if err == nil {
			err = content.Pushed(ctx, store, ref, d.Digest)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		children, err := below(ctx, d)
		if errdefs.IsNotFound(err) {
			return nil, nil
		}
		return children, err
	}), target)
	if err != nil {
		return fmt.Errorf("pushed %s, but cannot label it as being there: %w", ref, err)
	}
	return nil
}

// pushTarget returns what to push: the record's target, or a platform's manifest.
// It reads and checks all of it, and adds it to the lease.
func pushTarget(ctx context.Context, e Engine, name, platform string) (ocispec.Descriptor, error) {
	img, err := content.Resolve(ctx, e, name, platform)
	if err != nil && platform == "" && errdefs.IsNotFound(err) {
		// The image may have other platforms than this host's, which is fine.
		record, getErr := content.Lookup(ctx, e, name)
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
	if err := content.Hold(ctx, e, img); err != nil {
		return ocispec.Descriptor{}, err
	}
	if platform != "" {
		return img.Manifest, nil
	}
	return img.Record.Target, nil
}

// pushOnce sends what the registry lacks. It remembers nothing of an earlier call,
// so that a retry asks the registry again.
func pushOnce(ctx context.Context, in content.Images, ref string, target ocispec.Descriptor, opts Options, there *tally) error {
	resolver, err := Resolver(ctx, opts)
	if err != nil {
		return err
	}
	// With the digest, only the target gets the name, and not each manifest of an
	// index.
	if !strings.Contains(ref, "@") {
		ref += "@" + target.Digest.String()
	}
	to, err := resolver.Pusher(ctx, ref)
	if err != nil {
		return err
	}
	store := &sources{Store: in.ContentStore(), images: in, target: target}
	plan(ctx, store, target, opts.Progress)
	bounded := images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return nil, content.Bounded(ctx, store, d) // checked before containerd reads it
	})
	wrap := func(h images.Handler) images.Handler { return images.Handlers(bounded, h) }
	return remotes.PushContent(ctx, pusher{to, opts.Progress, there}, target, store, semaphore.NewWeighted(maxUploads), platforms.All, wrap)
}

// plan tells which blobs an image has. What is wrong with it, the push will say.
func plan(ctx context.Context, store cstore.Provider, target ocispec.Descriptor, p Progress) {
	if p == nil {
		return
	}
	below := content.ChildrenHandler(store)
	_ = images.Walk(ctx, images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if err := content.Bounded(ctx, store, d); err != nil {
			return nil, err
		}
		p.tell(Event{Blob: d, Planned: true})
		return below(ctx, d)
	}), target)
}

// maxForgotten is how often a push is repeated because the registry lost an upload,
// or a blob that it said it had. That happens if several registries share a store.
// If it happens more often, there is another cause.
const maxForgotten = 2

// forgot reports whether a registry has lost what it had confirmed.
func forgot(err error) bool {
	var status remoteerrors.ErrUnexpectedStatus
	if !errors.As(err, &status) {
		return false
	}
	var said struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(status.Body, &said) != nil {
		return false
	}
	for _, e := range said.Errors {
		switch e.Code {
		case "BLOB_UNKNOWN", "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "MANIFEST_BLOB_UNKNOWN":
			return true
		}
	}
	return false
}
