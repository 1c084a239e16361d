package veneer

import (
	"context"
	"errors"

	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/engine"
)

// DefaultKeepSteps is how many bytes of steps and cache mounts a prune leaves: what
// BuildKit's smallest default is.
const DefaultKeepSteps = 10 << 30

// PrunedSteps tells what a prune of steps removed.
type PrunedSteps struct {
	Steps     int   `json:"steps"`
	StepBytes int64 `json:"step_bytes"`
	// Mounts are directories of RUN --mount=type=cache.
	Mounts     int   `json:"cache_mounts"`
	MountBytes int64 `json:"cache_mount_bytes"`
}

// PruneSteps forgets what Dockerfiles' builds keep, the oldest first, until at most
// so many bytes are left; with dryRun it only counts. Garbage collection is then to
// remove what the steps held. It goes on after an error and returns what it did.
func PruneSteps(ctx context.Context, e *engine.Engine, keep int64, dryRun bool) (p PrunedSteps, _ error) {
	ctx = e.Context(ctx)
	steps, err := graph.Entries(ctx, e.Client)
	if err != nil {
		return p, err
	}
	mounts, err := dockerfile.CacheDirs(e.Root)
	if err != nil {
		return p, err
	}
	var errs []error
	for _, s := range steps {
		if keep -= s.Bytes; keep > 0 {
			continue
		}
		if !dryRun {
			if err := graph.Forget(ctx, e.Client, s); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		p.Steps++
		p.StepBytes += s.Bytes
	}
	keep = max(keep, 0)
	for _, m := range mounts {
		if keep -= m.Bytes; keep > 0 {
			continue
		}
		removed := dryRun
		if !dryRun {
			var err error
			removed, err = m.Remove()
			errs = append(errs, err)
		}
		if removed {
			p.Mounts++
			p.MountBytes += m.Bytes
		}
	}
	return p, errors.Join(errs...)
}
