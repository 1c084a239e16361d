package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
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
	used  string // the file that remembers the use
	// Used says when it was last used, or made, and Bytes how much its files are,
	// uncompressed.
	Used  time.Time
	Bytes int64
}

// Entries returns the steps that are kept in ctx's namespace, the last used first.
// dir is [Cache].Dir.
func Entries(ctx context.Context, c *client.Client, dir string) ([]Entry, error) {
	all, err := c.LeasesService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list steps: %w", err)
	}
	var kept []Entry
	for _, l := range all {
		if !strings.HasPrefix(l.ID, leasePrefix) {
			continue
		}
		e := Entry{lease: l, used: usedFile(dir, l.ID), Used: l.CreatedAt}
		if st, err := os.Stat(e.used); err == nil && st.ModTime().After(e.Used) {
			e.Used = st.ModTime()
		}
		var m Made
		if json.Unmarshal([]byte(l.Labels[labelStep]), &m) == nil {
			e.Bytes = m.Bytes
		}
		kept = append(kept, e)
	}
	slices.SortStableFunc(kept, func(a, b Entry) int { return b.Used.Compare(a.Used) })
	return kept, nil
}

// Forget removes the entry of a step. The next garbage collection removes what
// nothing else refers to. A build that needs the step does it again.
func Forget(ctx context.Context, c *client.Client, e Entry) error {
	if err := c.LeasesService().Delete(ctx, e.lease); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("forget step %s: %w", e.lease.ID, err)
	}
	_ = os.Remove(e.used) // It may never have been used.
	return nil
}
