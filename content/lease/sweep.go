package lease

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// orphanAge is how long something of Veneer's that no lease keeps is left
// alone: its lease may be about to be made, or be one that cannot be seen.
const orphanAge = time.Hour

// Engine is what is swept. A containerd client is one. SnapshotService returns nil
// for a name that the embedded engine does not have.
type Engine interface {
	LeasesService() leases.Manager
	SnapshotService(name string) snapshots.Snapshotter
	ContentStore() cstore.Store
}

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
func Left(ctx context.Context, e Engine, snapshotter string) (Swept, error) {
	var left Swept
	over, keep, err := sortLeases(ctx, e.LeasesService())
	if err != nil {
		return left, err
	}
	for _, l := range over {
		left.Leases = append(left.Leases, l.ID)
	}
	return left, errors.Join(sweepSnapshots(ctx, e, snapshotter, keep, &left, true), sweepIngests(ctx, e.ContentStore(), keep, &left, true))
}

// Sweep removes what killed processes left in ctx's namespace: their leases,
// their temporary snapshots in the given snapshotter ("": in none), and the
// blobs that they were writing. It returns when the engine has removed what
// only these leases kept.
//
// What the lease of a living process keeps stays. Some processes cannot be
// judged from here, as those of another PID namespace, or those that /proc
// hides: what their leases keep stays until the lease has expired. The notes of
// [NotePaused] and the leases of [KeepMounted] stay too.
//
// Sweep goes on after an error. It returns what it did together with the errors.
func Sweep(ctx context.Context, e Engine, snapshotter string) (Swept, error) {
	var done Swept
	ls := e.LeasesService()
	over, keep, err := sortLeases(ctx, ls)
	if err != nil {
		return done, err
	}
	var errs []error
	errs = append(errs, sweepSnapshots(ctx, e, snapshotter, keep, &done, false), sweepIngests(ctx, e.ContentStore(), keep, &done, false))
	for i, l := range over {
		var opts []leases.DeleteOpt
		if i == len(over)-1 {
			opts = append(opts, leases.SynchronousDelete)
		}
		if err := ls.Delete(ctx, l, opts...); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove lease %s: %w", l.ID, err))
			continue
		}
		done.Leases = append(done.Leases, l.ID)
	}
	return done, errors.Join(errs...)
}

// KeptBlobs returns the blobs that leases of ctx's namespace keep themselves,
// apart from leases that are over or have expired.
func KeptBlobs(ctx context.Context, ls leases.Manager) ([]digest.Digest, error) {
	self, err := thisProcess()
	if err != nil {
		return nil, err
	}
	all, err := ls.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	var blobs []digest.Digest
	for _, l := range all {
		expire, err := time.Parse(time.RFC3339, l.Labels[labelExpire])
		if isOver(l, self) || err == nil && time.Now().After(expire) {
			continue
		}
		resources, err := ls.ListResources(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("list what lease %s holds: %w", l.ID, err)
		}
		for _, r := range resources {
			if r.Type == typeBlob {
				blobs = append(blobs, digest.Digest(r.ID))
			}
		}
	}
	return blobs, nil
}

// keeping holds the resources of all leases. The value is false for what only
// leases keep that are over.
type keeping map[leases.Resource]bool

// orphan reports whether something of Veneer's may be removed: only leases that
// are over keep it, or no lease does and it is old.
func (k keeping) orphan(r leases.Resource, changed time.Time) bool {
	stays, kept := k[r]
	if kept {
		return !stays
	}
	return time.Since(changed) > orphanAge
}

// sortLeases returns the leases of Veneer's that are over, and what all leases
// keep.
func sortLeases(ctx context.Context, ls leases.Manager) ([]leases.Lease, keeping, error) {
	self, err := thisProcess()
	if err != nil {
		return nil, nil, err
	}
	all, err := ls.List(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("list leases: %w", err)
	}
	var over []leases.Lease
	keep := keeping{}
	for _, l := range all {
		ends := isOver(l, self)
		if ends {
			over = append(over, l)
		}
		resources, err := ls.ListResources(ctx, l)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("list what lease %s holds: %w", l.ID, err)
		}
		for _, r := range resources {
			keep[r] = keep[r] || !ends
		}
	}
	return over, keep, nil
}

// isOver reports whether a lease is one that [Sweep] ends.
func isOver(l leases.Lease, self process) bool {
	return ours(l) && l.Labels[labelPaused] == "" && l.Labels[labelMounted] == "" && ended(l, self)
}

func ours(l leases.Lease) bool { return strings.HasPrefix(l.ID, Prefix) }

// ended reports whether the process that a lease belongs to is dead, or the
// lease has expired where that cannot be told.
func ended(l leases.Lease, self process) bool {
	switch judge(l.Labels, l.CreatedAt, self) {
	case alive:
		return false
	case dead:
		return true
	}
	expire, err := time.Parse(time.RFC3339, l.Labels[labelExpire])
	if err != nil {
		expire = l.CreatedAt.Add(life)
	}
	return time.Now().After(expire)
}

// sweepSnapshots removes the temporary snapshots that nothing keeps, and adds
// them to done. With look it only adds them.
func sweepSnapshots(ctx context.Context, e Engine, snapshotter string, keep keeping, done *Swept, look bool) error {
	if snapshotter == "" {
		return nil
	}
	sn := e.SnapshotService(snapshotter)
	if sn == nil {
		return fmt.Errorf("list snapshots of %s: the engine has no such snapshotter, or it does not work here: %w", snapshotter, errdefs.ErrNotFound)
	}
	var orphans []string
	err := sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Labels[LabelTemporary] == "" || info.Kind == snapshots.KindCommitted {
			return nil
		}
		if keep.orphan(snapshotResource(snapshotter, info.Name), info.Updated) {
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

// sweepIngests is sweepSnapshots for ingests. Those of a pull have names that all clients
// of containerd share: they are only added to done, if nothing but leases that are over
// keeps them, since they go with these.
func sweepIngests(ctx context.Context, store cstore.Store, keep keeping, done *Swept, look bool) error {
	all, err := store.ListStatuses(ctx)
	if err != nil {
		return fmt.Errorf("list ingests: %w", err)
	}
	var errs []error
	for _, st := range all {
		held := ingestResource(st.Ref)
		own := strings.HasPrefix(st.Ref, Prefix)
		if _, kept := keep[held]; !own && !kept || !keep.orphan(held, st.UpdatedAt) {
			continue
		}
		if own && !look {
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
