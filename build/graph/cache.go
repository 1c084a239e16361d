package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/snapshot"
)

// leasePrefix is the beginning of the names of leases that keep steps. The key of
// the step follows. The label labelStep of the lease has what the step made, as
// JSON.
const (
	leasePrefix = "veneer-step-"
	labelStep   = "veneer.build/step"
)

// Made is what a step made: a snapshot, and the layer that has the differences to
// the snapshot before.
type Made struct {
	// Snapshot is the name of the committed snapshot. It is empty if there are no
	// files.
	Snapshot string `json:"snapshot,omitempty"`
	// ID identifies the files in the keys of later steps.
	ID string `json:"id,omitempty"`
	// Layer is nil where nothing differs, or where the layer was not written.
	Layer *Layer `json:"layer,omitempty"`
	// Layered: all layers of the snapshot are stored.
	Layered bool `json:"layered,omitempty"`
	// Bytes is the size of the files that the step wrote.
	Bytes int64 `json:"bytes,omitempty"`
	// Time is when it was made, in seconds since 1970.
	Time int64 `json:"time,omitempty"`
}

// Layer is a stored layer.
type Layer struct {
	Desc   ocispec.Descriptor `json:"desc"`
	DiffID digest.Digest      `json:"diff_id"`
}

// Cache keeps what steps made in the engine. Each step has a lease, which holds its
// snapshot and its layer against garbage collection. The label of the lease is the
// entry, so an entry and what it refers to go together.
type Cache struct {
	Client      *client.Client
	Snapshotter string
	// Dir, on this host, is where steps are locked and their last use is remembered;
	// empty: neither is done.
	Dir string
}

// Dir is where that is, below an engine's root.
func Dir(root string) string { return filepath.Join(root, "build", "steps") }

// Lookup returns what a step with that key made, and adds it to the lease in ctx.
// It returns nil if that is not known, or if a part of it is gone. With layered,
// the layers must be there too.
func (c *Cache) Lookup(ctx context.Context, key Key, layered bool) (*Made, error) {
	found, err := c.Client.LeasesService().List(ctx, "id=="+c.id(key))
	if err != nil {
		return nil, fmt.Errorf("look up step: %w", err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	m := &Made{}
	// A stranger's label, or a later version's, is no entry.
	if bad := json.Unmarshal([]byte(found[0].Labels[labelStep]), m); bad != nil || layered && !m.Layered {
		return nil, nil //nolint:nilerr // see above
	}
	if err := c.hold(ctx, m, leaseOf(ctx)); err != nil {
		return nil, err
	}
	there, err := c.there(ctx, m)
	if err != nil || !there {
		return nil, err
	}
	c.use(found[0].ID)
	return m, nil
}

// Keep keeps what a step made, until it is pruned. It replaces what was kept under
// the key before.
func (c *Cache) Keep(ctx context.Context, key Key, m Made) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("keep step: %w", err)
	}
	lease := leases.Lease{ID: c.id(key)}
	service := c.Client.LeasesService()
	create := func() error {
		_, err := service.Create(ctx, leases.WithID(lease.ID), leases.WithLabels(map[string]string{labelStep: string(data)}))
		return err
	}
	err = create()
	if errdefs.IsAlreadyExists(err) {
		if err = service.Delete(ctx, lease); err == nil || errdefs.IsNotFound(err) {
			err = create()
		}
	}
	if errdefs.IsAlreadyExists(err) {
		return nil // Another build keeps the same step at the same time.
	}
	if err == nil {
		err = c.hold(ctx, &m, lease.ID)
	}
	if err != nil {
		return fmt.Errorf("keep step: %w", err)
	}
	c.use(lease.ID)
	return nil
}

// id contains the name of the snapshotter, since a snapshot is in one snapshotter
// only.
func (c *Cache) id(key Key) string {
	return leasePrefix + digest.FromString(c.Snapshotter + "\n" + string(key)).Encoded()[:40]
}

func leaseOf(ctx context.Context) string {
	id, _ := leases.FromContext(ctx)
	return id
}

// hold adds what a step made to a lease, whether it is there or not.
func (c *Cache) hold(ctx context.Context, m *Made, id string) error {
	if id == "" {
		return errors.New("hold step: there is no lease")
	}
	ctx, ls := leases.WithLease(ctx, id), c.Client.LeasesService()
	if m.Snapshot != "" {
		if err := lease.AddSnapshot(ctx, ls, c.Snapshotter, m.Snapshot); err != nil {
			return fmt.Errorf("hold %s: %w", m.Snapshot, err)
		}
	}
	if m.Layer != nil {
		if err := lease.AddBlob(ctx, ls, m.Layer.Desc.Digest); err != nil {
			return fmt.Errorf("hold %s: %w", m.Layer.Desc.Digest, err)
		}
	}
	return nil
}

// there reports whether the engine has the snapshot and the layers.
func (c *Cache) there(ctx context.Context, m *Made) (bool, error) {
	if m.Snapshot != "" {
		ok, err := snapshot.Exists(ctx, c.Client.SnapshotService(c.Snapshotter), m.Snapshot)
		if err != nil || !ok {
			return false, err
		}
	}
	if m.Layer == nil {
		return true, nil
	}
	_, err := c.Client.ContentStore().Info(ctx, m.Layer.Desc.Digest)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for layer %s: %w", m.Layer.Desc.Digest, err)
	}
	return true, nil
}
