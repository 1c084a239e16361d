package verify

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/internal/fault"
)

// open opens a blob for reading, as [content.ReadBlob] does, and counts what is read
// of it.
func (v *verifier) open(ctx context.Context, desc ocispec.Descriptor) (r io.ReadCloser, err error) {
	if v.outside != nil && v.outside.Blob != nil {
		r, err = v.outside.Blob(ctx, desc)
	} else {
		r, err = content.ReadBlob(ctx, v.engine.Client.ContentStore(), desc)
	}
	if err != nil {
		return nil, err
	}
	return &countedBlob{ReadCloser: r, count: v.read}, nil
}

// countedBlob counts what was delivered of a blob: of one that is not there nothing
// is, and of one that is cut off not all that its descriptor says.
type countedBlob struct {
	io.ReadCloser
	count func(blobs, bytes int64)
	begun bool
}

func (c *countedBlob) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	var blobs int64
	if !c.begun && (n > 0 || errors.Is(err, io.EOF)) {
		c.begun, blobs = true, 1
	}
	if blobs > 0 || n > 0 {
		c.count(blobs, int64(n))
	}
	return n, err
}

// blob reads a blob to its end. That checks its size and digest.
func (v *verifier) blob(ctx context.Context, desc ocispec.Descriptor) error {
	r, err := v.open(ctx, desc)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// blobFinding records what is wrong with a blob, given the error of reading it. If the
// registry failed, that tells nothing of the image: it returns an error then, since what
// is left to verify would most often fail as well.
func (v *verifier) blobFinding(desc ocispec.Descriptor, platform string, err error) error {
	f := Finding{Severity: SeverityError, Check: CheckBlob, Platform: platform, Object: desc.Digest}
	switch {
	case err == nil:
		return nil
	case errdefs.IsNotFound(err) && v.outside != nil:
		f.Message = fmt.Sprintf("it is not there: %v", err)
	case errdefs.IsNotFound(err):
		f.Severity = SeverityNote
		f.Message = "not checked: the blob is not stored here (containerd's discard_unpacked_layers leaves layers out); pull the image again to have it"
	case errors.Is(err, content.ErrCorrupt):
		f.Message, f.Cause = err.Error(), v.cause(ErrBlob, desc.Digest.String(), err)
	case v.outside != nil && v.outside.Blob != nil && desc.Digest.Validate() == nil:
		return fmt.Errorf("not all could be read, so try again: %w", err)
	default:
		f.Message = err.Error()
	}
	v.add(f)
	return nil
}

// cause returns what a caller may act upon: nothing outside of the engine.
func (v *verifier) cause(kind error, ref string, err error) error {
	if v.outside != nil {
		return nil
	}
	return &fault.Error{Kind: kind, Ref: ref, Err: err}
}
