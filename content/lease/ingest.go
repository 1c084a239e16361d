package lease

import (
	"context"
	"crypto/rand"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/internal/cleanup"
	"github.com/veneer-build/veneer/internal/fault"
)

// NewRef returns the name of a new ingest. No other build, running or killed,
// can have an ingest of that name.
func NewRef(what string) string {
	return Prefix + what + "-" + rand.Text()
}

const (
	// abortTries bounds how often it is tried to remove an ingest.
	abortTries = 6

	// abortTimeout bounds all of these tries.
	abortTimeout = 10 * time.Second
)

// Abort removes an ingest, also after ctx ended. It is no error if there is
// none. It tries several times: a daemon learns late that a writer was given
// up, and while that writer writes into the ingest's directory, removing it
// fails.
func Abort(ctx context.Context, store cstore.IngestManager, ref string) error {
	ctx, cancel := cleanup.Context(ctx, abortTimeout)
	defer cancel()
	for try := 1; ; try++ {
		err := store.Abort(ctx, ref)
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if try == abortTries || ctx.Err() != nil {
			return &fault.Error{Kind: fault.ErrLeftBehind, Op: "remove ingest", Ref: ref, Err: err}
		}
		time.Sleep(time.Duration(try*try) * 10 * time.Millisecond)
	}
}
