package content

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// LabelBuild is on every snapshot that a build makes to work with; its value
// names the build.
const LabelBuild = LabelPrefix + "build"

// orphanAge is how long something of ours that no lease holds is left alone:
// its lease may be about to be made, or be one that we cannot see.
const orphanAge = time.Hour

// Swept lists what a sweep removed.
type Swept struct {
	Leases    []string `json:"leases"`
	Snapshots []string `json:"snapshots"`
	Ingests   []string `json:"ingests"`
}

// Sweep removes what killed builds left in ctx's namespace: their leases,
// their active snapshots and views in the given snapshotter ("": in none), and the blobs
// that they were writing. It waits until the engine has collected what the
// leases held. What a running build holds is left alone, and so is what is
// held by a lease whose process cannot be judged from here (another PID
// namespace's, or one that /proc hides) until the lease has expired.
//
// The records of [NotePaused] stay. It goes on after an error and returns what
// it did together with the errors.
func Sweep(ctx context.Context, c *client.Client, snapshotter string) (Swept, error) {
	var done Swept
	gone, held, err := sortLeases(ctx, c)
	if err != nil {
		return done, err
	}
	var errs []error
	if done.Snapshots, err = sweepSnapshots(ctx, c, snapshotter, held); err != nil {
		errs = append(errs, err)
	}
	if done.Ingests, err = sweepIngests(ctx, c, held); err != nil {
		errs = append(errs, err)
	}
	for i, l := range gone {
		var opts []leases.DeleteOpt
		if i == len(gone)-1 {
			opts = append(opts, leases.SynchronousDelete)
		}
		if err := c.LeasesService().Delete(ctx, l, opts...); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove lease %s: %w", l.ID, err))
			continue
		}
		done.Leases = append(done.Leases, l.ID)
	}
	return done, errors.Join(errs...)
}

// holdings are the resources of leases, by type and name; the value tells
// whether one of the leases is to stay.
type holdings map[leases.Resource]bool

// orphan reports whether something of ours may be removed: if only ended
// leases hold it, or none does and it is old.
func (h holdings) orphan(r leases.Resource, changed time.Time) bool {
	stays, held := h[r]
	if held {
		return !stays
	}
	return time.Since(changed) > orphanAge
}

// sortLeases returns our leases whose builds are over, and what all leases hold.
func sortLeases(ctx context.Context, c *client.Client) ([]leases.Lease, holdings, error) {
	self, err := thisProcess()
	if err != nil {
		return nil, nil, err
	}
	ls := c.LeasesService()
	all, err := ls.List(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list leases: %w", err)
	}
	var gone []leases.Lease
	held := holdings{}
	for _, l := range all {
		over := ours(l) && l.Labels[labelPaused] == "" && ended(l, self)
		if over {
			gone = append(gone, l)
		}
		resources, err := ls.ListResources(ctx, l)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("list what lease %s holds: %w", l.ID, err)
		}
		for _, r := range resources {
			held[r] = held[r] || !over
		}
	}
	return gone, held, nil
}

func ours(l leases.Lease) bool { return strings.HasPrefix(l.ID, Prefix) }

func ended(l leases.Lease, self process) bool {
	switch judge(l.Labels, l.CreatedAt, self) {
	case alive:
		return false
	case dead:
		return true
	}
	expire, err := time.Parse(time.RFC3339, l.Labels[labelExpire])
	if err != nil {
		expire = l.CreatedAt.Add(leaseLife)
	}
	return time.Now().After(expire)
}

func sweepSnapshots(ctx context.Context, c *client.Client, snapshotter string, held holdings) ([]string, error) {
	if snapshotter == "" {
		return nil, nil
	}
	sn := c.SnapshotService(snapshotter)
	var orphans []string
	err := sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if _, ours := info.Labels[LabelBuild]; !ours || info.Kind == snapshots.KindCommitted {
			return nil
		}
		if held.orphan(leases.Resource{Type: "snapshots/" + snapshotter, ID: info.Name}, info.Updated) {
			orphans = append(orphans, info.Name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshots of %s: %w", snapshotter, err)
	}
	var removed []string
	var errs []error
	for _, key := range orphans {
		if err := sn.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove snapshot %s: %w", key, err))
			continue
		}
		removed = append(removed, key)
	}
	return removed, errors.Join(errs...)
}

func sweepIngests(ctx context.Context, c *client.Client, held holdings) ([]string, error) {
	store := c.ContentStore()
	all, err := store.ListStatuses(ctx)
	if err != nil {
		return nil, fmt.Errorf("list ingests: %w", err)
	}
	var removed []string
	var errs []error
	for _, st := range all {
		if !strings.HasPrefix(st.Ref, Prefix) || !held.orphan(leases.Resource{Type: "ingests", ID: st.Ref}, st.UpdatedAt) {
			continue
		}
		if err := Abort(ctx, store, st.Ref); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, st.Ref)
	}
	return removed, errors.Join(errs...)
}
