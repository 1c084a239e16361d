package veneer

import (
	"context"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/verify"
)

type (
	// VerifyRequest says what to verify.
	VerifyRequest = verify.Request
	// VerifyResult tells what was verified, and what was found.
	VerifyResult = verify.Result
	// Finding is one thing that was found.
	Finding = verify.Finding
	// SameRequest names two images whose files are compared.
	SameRequest = verify.SameRequest
	// SameResult tells whether two images show the same files.
	SameResult = verify.SameResult
	// PathDifference is one way in which a path is not the same in two images.
	PathDifference = verify.PathDifference
)

// The severities of findings.
const (
	SeverityError   = verify.SeverityError
	SeverityWarning = verify.SeverityWarning
	SeverityNote    = verify.SeverityNote
)

// Verify derives again all that was derived when an image was made, and reports
// what does not fit. See [verify.Image].
func Verify(ctx context.Context, e *engine.Engine, req VerifyRequest) (*VerifyResult, error) {
	return verify.Image(ctx, e, req)
}

// SameRootfs compares the files of two images. See [verify.Same].
func SameRootfs(ctx context.Context, e *engine.Engine, req SameRequest) (*SameResult, error) {
	return verify.Same(ctx, e, req)
}
