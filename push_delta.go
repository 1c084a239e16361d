package veneer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/internal/tempfile"
	"github.com/veneer-build/veneer/internal/words"
)

// PushDeltasRequest says which deltas below the file to push beside an image.
type PushDeltasRequest struct {
	// Image is an image that is in its registry, see [Push]. Since are images that those
	// who pull it may have: there is one delta for each.
	Image string
	Since []string
	// Platform chooses one of multi-platform images. Empty: the host's.
	Platform string
	// Keep is how many deltas of the image stay in the registry. Older ones that Veneer
	// made are removed. Those of this request stay in any case. 0: 8, which is as many as
	// a pull looks into.
	Keep int
	// NoCache: indexes of layers are neither taken from the cache nor kept in it.
	NoCache bool
	// Progress is told of each step, and of bytes. nil: no reports.
	Progress Progress
	// Registry says how to talk to the registry.
	Registry RegistryOptions
}

// PushedDeltas tells which deltas are beside an image now.
type PushedDeltas struct {
	Deltas []PushedDelta `json:"deltas"`
	// Removed is the number of older deltas that were removed.
	Removed  int      `json:"removed,omitempty"`
	Warnings []Notice `json:"warnings,omitempty"`
}

// PushedDelta is a delta from one image.
type PushedDelta struct {
	// Since is the image's name, and Digest the delta's. There is no digest if the delta
	// would not be smaller than the layers: then it is not pushed.
	Since  string        `json:"since"`
	Digest digest.Digest `json:"digest,omitempty"`
	// Bytes is what the delta has of the layers that the image lacks, and LayerBytes
	// their size.
	Bytes      int64 `json:"bytes"`
	LayerBytes int64 `json:"layer_bytes"`
}

// PushDeltas makes deltas of an image and pushes them as artifacts whose subject is the
// image's manifest, see [registry.PushArtifact]. [Pull] finds them. After an error some
// of them may be pushed, which does no harm.
func PushDeltas(ctx context.Context, e *engine.Engine, req PushDeltasRequest) (*PushedDeltas, error) {
	var result PushedDeltas
	var subject digest.Digest
	for _, since := range req.Since {
		one := SaveDeltaRequest{Image: req.Image, Since: []string{since}, Platform: req.Platform}
		o := build.Options{Steps: progress.New(req.Progress), NoCache: req.NoCache, AllowEncrypted: true}
		err := build.Run(ctx, e, o, func(ctx context.Context, s *build.Session) error {
			pushed, image, err := req.push(ctx, s, one)
			if err != nil {
				return err
			}
			subject = image
			result.Deltas = append(result.Deltas, *pushed)
			result.Warnings = append(result.Warnings, s.Warnings.All()...)
			return nil
		})
		if err != nil {
			return &result, fmt.Errorf("push delta of %s from %s: %w", req.Image, since, err)
		}
		o.Steps.End()
	}
	return &result, req.prune(e.Context(ctx), subject, &result)
}

// push makes and pushes one delta. It returns the digest of the image's manifest.
func (r PushDeltasRequest) push(ctx context.Context, s *build.Session, one SaveDeltaRequest) (_ *PushedDelta, image digest.Digest, err error) {
	img, since, err := one.images(ctx, s)
	if err != nil {
		return nil, "", err
	}
	spool, err := tempfile.Unnamed(s.Roots.Spool)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	made, err := makeDelta(ctx, s, delta.Making{Image: img, Sources: since, Spool: spool})
	if err != nil {
		return nil, "", err
	}
	pushed := &PushedDelta{Since: one.Since[0], LayerBytes: newBytes(img, since)}
	for _, c := range made.Costs {
		pushed.Bytes += c.Bytes
	}
	if pushed.Bytes >= pushed.LayerBytes {
		return pushed, img.Manifest.Digest, nil
	}
	desc, data, err := made.Encode()
	if err != nil {
		return nil, "", err
	}
	s.Steps.Begin(Step{Kind: "push", Of: img.Name})
	entry, err := registry.PushArtifact(ctx, made.Provider(s.Engine.Client.ContentStore(), data), r.Image, desc, r.Registry)
	pushed.Digest = entry.Digest
	return pushed, img.Manifest.Digest, err
}

// prune removes older deltas than are to stay.
func (r PushDeltasRequest) prune(ctx context.Context, subject digest.Digest, result *PushedDeltas) error {
	var spare []digest.Digest
	for _, d := range result.Deltas {
		if d.Digest != "" {
			spare = append(spare, d.Digest)
		}
	}
	if len(spare) == 0 {
		return nil
	}
	list, err := registry.Referrers(ctx, r.Image, subject, delta.ArtifactType, r.Registry)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(d ocispec.Descriptor) bool { return !delta.Ours(d) })
	var gone []digest.Digest
	for _, d := range registry.Surplus(list, cmp.Or(r.Keep, delta.MaxOffers), spare...) {
		gone = append(gone, d.Digest)
	}
	removed, err := registry.RemoveReferrers(ctx, r.Image, subject, gone, r.Registry)
	result.Removed = len(removed.Deleted)
	if removed.Refusal != nil {
		result.Warnings = append(result.Warnings, fault.NoticeOf(fmt.Errorf("%s cannot be deleted from the registry: %w", words.Count(len(removed.Kept), "older delta", "older deltas"), removed.Refusal)))
	}
	return err
}
