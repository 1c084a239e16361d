package verify

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
)

// Found is an image that is none of an engine's: it is in an archive, or in its
// registry. Its documents are in the engine's content store.
type Found struct {
	Name   string
	Target ocispec.Descriptor
	// One: just the image of the platform that was asked for is there, or the host's.
	One bool
	// Blob opens a blob that is elsewhere, and checks it at its end as
	// [content.ReadBlob] does. nil: all blobs are in the content store.
	Blob func(context.Context, ocispec.Descriptor) (io.ReadCloser, error)
}

// Outside is [Image] for an image that find finds outside of the engine. It verifies
// all but what an engine adds to an image: labels and snapshots. find is called under
// the lease of ctx, if there is one. If its error wraps [content.ErrCorrupt], that is
// a finding. A registry that fails is an error.
func Outside(ctx context.Context, e *engine.Engine, req Request, find func(context.Context) (*Found, error)) (*Result, error) {
	if req.Repair {
		return nil, fmt.Errorf("verify %s: an image outside of the engine is not repaired: %w", req.Image, errdefs.ErrInvalidArgument)
	}
	v := &verifier{Request: req, engine: e, steps: progress.New(req.Progress)}
	v.steps.Start("resolve")
	var err error
	v.outside, err = find(ctx)
	if errors.Is(err, content.ErrCorrupt) && ctx.Err() == nil {
		v.res.Image, v.res.Platforms = req.Image, []Platform{}
		v.add(Finding{Severity: SeverityError, Check: CheckBlob, Message: err.Error()})
		return v.finish(), nil
	}
	if err == nil {
		err = v.run(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", req.Image, err)
	}
	return v.finish(), nil
}
