package veneer

import (
	"context"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/verify"
)

// What [Verify] and [SameRootfs] take and return.
type (
	VerifyRequest  = verify.Request
	VerifyResult   = verify.Result
	Finding        = verify.Finding
	SameRequest    = verify.SameRequest
	SameResult     = verify.SameResult
	PathDifference = verify.PathDifference
)

// The severities of findings.
const (
	SeverityError   = verify.SeverityError
	SeverityWarning = verify.SeverityWarning
	SeverityNote    = verify.SeverityNote
)

// Verify derives everything of an image again that was derived when it was
// made, and says what is not so: see [verify.Image].
func Verify(ctx context.Context, e *engine.Engine, req VerifyRequest) (*VerifyResult, error) {
	return verify.Image(ctx, e, req)
}

// SameRootfs compares the files of two images: see [verify.Same].
func SameRootfs(ctx context.Context, e *engine.Engine, req SameRequest) (*SameResult, error) {
	return verify.Same(ctx, e, req)
}
