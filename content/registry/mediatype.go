package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/internal/fault"
)

// resolve resolves the image's name. A mirror's manifest is fetched at once, so
// that another host can be tried if it is wrong.
func (p *pull) resolve(ctx context.Context, resolver remotes.Resolver, from remotes.Fetcher) (ocispec.Descriptor, error) {
	_, target, err := resolver.Resolve(ctx, p.name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	mirrored := attemptOf(ctx).mirrored()
	target.MediaType = strings.ToLower(strings.TrimSpace(target.MediaType))
	if saysNothing(target.MediaType) {
		if target.MediaType, err = p.typeWithin(ctx, from, target); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	if !images.IsManifestType(target.MediaType) && !images.IsIndexType(target.MediaType) {
		return ocispec.Descriptor{}, fmt.Errorf("what the registry has under the name is no image: its type is %q: %w", target.MediaType, errdefs.ErrInvalidArgument)
	}
	if !mirrored {
		return target, nil
	}
	if err := p.fetchOnce(ctx, fetcher{Fetcher: from, got: new(atomic.Int64)}, target); err != nil {
		// The manifest may not exist.
		return ocispec.Descriptor{}, errors.Join(err, p.abort(ctx, target))
	}
	return target, nil
}

// saysNothing reports whether web servers use this type for files of an unknown
// type. Containerd takes text/plain for Docker's first schema.
func saysNothing(mediaType string) bool {
	switch mediaType {
	case "", "application/json", "text/json", "text/plain", "application/octet-stream", "binary/octet-stream", images.MediaTypeDockerSchema1Manifest:
		return true
	}
	return false
}

// typeWithin returns the type of a document that the registry sends without one. It
// is the one in the document, or the one that fits its fields.
func (p *pull) typeWithin(ctx context.Context, from remotes.Fetcher, d ocispec.Descriptor) (_ string, retErr error) {
	d.MediaType = ocispec.MediaTypeImageManifest // so that it is requested as a manifest
	rc, err := from.Fetch(ctx, d)
	if err != nil {
		return "", err
	}
	defer func() { retErr = errors.Join(retErr, rc.Close()) }()
	data, err := io.ReadAll(io.LimitReader(rc, min(d.Size, maxDocument)))
	if err != nil {
		return "", err
	}
	if d.Digest.Algorithm().FromBytes(data) != d.Digest {
		return "", fault.Mark(ErrOtherContent, fmt.Errorf("manifest %s: other bytes arrived: %w", d.Digest, errdefs.ErrFailedPrecondition))
	}
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", fmt.Errorf("parse manifest %s, which came without a type: %w", d.Digest, err)
	}
	switch {
	case doc.MediaType != "":
		return doc.MediaType, nil
	case doc.SchemaVersion == 2 && doc.Manifests != nil:
		return ocispec.MediaTypeImageIndex, nil
	case doc.SchemaVersion == 2 && doc.Config != nil:
		return ocispec.MediaTypeImageManifest, nil
	}
	return d.MediaType, fmt.Errorf("manifest %s: neither the registry nor it says what it is: %w", d.Digest, errdefs.ErrInvalidArgument)
}
