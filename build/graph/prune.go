package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
)

// Entry is a step that is kept.
type Entry struct {
	lease leases.Lease
	// Made says when it was made, and Bytes how much its files are, uncompressed.
	Made  time.Time
	Bytes int64
}

// Entries returns the steps that are kept in ctx's namespace, the newest first.
func Entries(ctx context.Context, c *client.Client) ([]Entry, error) {
	all, err := c.LeasesService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list steps: %w", err)
	}
	var kept []Entry
	for _, l := range all {
		if !strings.HasPrefix(l.ID, leasePrefix) {
			continue
		}
		e := Entry{lease: l, Made: l.CreatedAt}
		var m Made
		if json.Unmarshal([]byte(l.Labels[labelStep]), &m) == nil {
			e.Bytes = m.Bytes
		}
		kept = append(kept, e)
	}
	slices.SortStableFunc(kept, func(a, b Entry) int { return b.Made.Compare(a.Made) })
	return kept, nil
}

// Forget removes the entry of a step. The next garbage collection removes what
// nothing else refers to. A build that needs the step does it again.
func Forget(ctx context.Context, c *client.Client, e Entry) error {
	if err := c.LeasesService().Delete(ctx, e.lease); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("forget step %s: %w", e.lease.ID, err)
	}
	return nil
}
