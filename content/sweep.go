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
	// SnapshotBytes and IngestBytes are the disk space that these had.
	SnapshotBytes int64 `json:"snapshot_bytes"`
	IngestBytes   int64 `json:"ingest_bytes"`
}

// Left returns what [Sweep] would remove, and removes nothing.
func Left(ctx context.Context, c *client.Client, snapshotter string) (Swept, error) {
	var left Swept
	gone, held, err := sortLeases(ctx, c)
	if err != nil {
		return left, err
	}
	for _, l := range gone {
		left.Leases = append(left.Leases, l.ID)
	}
	return left, errors.Join(sweepSnapshots(ctx, c, snapshotter, held, &left, true), sweepIngests(ctx, c, held, &left, true))
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
	errs = append(errs, sweepSnapshots(ctx, c, snapshotter, held, &done, false), sweepIngests(ctx, c, held, &done, false))
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

// sweepSnapshots adds to done what it removes, or with look what it would.
func sweepSnapshots(ctx context.Context, c *client.Client, snapshotter string, held holdings, done *Swept, look bool) error {
	if snapshotter == "" {
		return nil
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
		return fmt.Errorf("list snapshots of %s: %w", snapshotter, err)
	}
	var errs []error
	for _, key := range orphans {
		usage, err := sn.Usage(ctx, key)
		if err != nil {
			usage.Size = 0 // It is removed all the same.
		}
		if look {
			err = nil
		} else {
			err = sn.Remove(ctx, key)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove snapshot %s: %w", key, err))
			continue
		}
		done.Snapshots = append(done.Snapshots, key)
		done.SnapshotBytes += usage.Size
	}
	return errors.Join(errs...)
}

// sweepIngests adds to done what it removes, or with look what it would.
func sweepIngests(ctx context.Context, c *client.Client, held holdings, done *Swept, look bool) error {
	store := c.ContentStore()
	all, err := store.ListStatuses(ctx)
	if err != nil {
		return fmt.Errorf("list ingests: %w", err)
	}
	var errs []error
	for _, st := range all {
		if !strings.HasPrefix(st.Ref, Prefix) || !held.orphan(leases.Resource{Type: "ingests", ID: st.Ref}, st.UpdatedAt) {
			continue
		}
		if !look {
			if err := Abort(ctx, store, st.Ref); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		done.Ingests = append(done.Ingests, st.Ref)
		done.IngestBytes += st.Offset
	}
	return errors.Join(errs...)
}
