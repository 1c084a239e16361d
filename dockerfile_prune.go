package veneer

import (
	"context"
	"errors"
	"slices"
	"time"

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

// DefaultKeepFor is how long a prune leaves what is not used: as BuildKit does.
const DefaultKeepFor = 60 * 24 * time.Hour

// PruneSteps forgets what Dockerfiles' builds keep: what was not used for longer than
// keepFor, and then what was used the longest ago, until at most so many bytes are
// left; with dryRun it only counts. Garbage collection is then to remove what the
// steps held. It goes on after an error and returns what it did.
func PruneSteps(ctx context.Context, e *engine.Engine, keep int64, keepFor time.Duration, dryRun bool) (p PrunedSteps, _ error) {
	ctx = e.Context(ctx)
	since := time.Now().Add(-keepFor)
	steps, err := graph.Entries(ctx, e.Client, graph.Dir(e.Root))
	if err != nil {
		return p, err
	}
	mounts, err := dockerfile.CacheDirs(e.Root)
	if err != nil {
		return p, err
	}
	var all []kept
	for _, s := range steps {
		all = append(all, kept{s.Used, s.Bytes, func() (bool, error) { return true, graph.Forget(ctx, e.Client, s) }, &p.Steps, &p.StepBytes})
	}
	for _, m := range mounts {
		all = append(all, kept{m.Used, m.Bytes, m.Remove, &p.Mounts, &p.MountBytes})
	}
	slices.SortStableFunc(all, func(a, b kept) int { return b.used.Compare(a.used) })
	var errs []error
	for _, k := range all {
		if keep -= k.bytes; keep > 0 && k.used.After(since) {
			continue
		}
		removed := true
		if !dryRun {
			removed, err = k.remove()
			errs = append(errs, err)
		}
		if removed && err == nil {
			*k.count++
			*k.total += k.bytes
		}
	}
	if !dryRun {
		errs = append(errs, graph.SweepLocks(graph.Dir(e.Root)))
	}
	return p, errors.Join(errs...)
}

// kept is a step or a cache mount, and where it is counted when it is removed.
type kept struct {
	used   time.Time
	bytes  int64
	remove func() (removed bool, err error)
	count  *int
	total  *int64
}
