package harness

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

// leakPatience is how long something that goes by itself, such as the mount of a container that has just ended, may
// take to do so.
const leakPatience = 5 * time.Second

// LeakCheck fails the test if, when it is done, there is something on the engine or the machine that must not outlive
// a build and was not there at the call: leases, ingests, active or view snapshots (of any namespace), mounts and files in the
// temporary directory that [Main] has made, and so must have been called. Call it after [Start], so that it looks
// before the daemon stops.
func LeakCheck(t testing.TB, c *client.Client, snapshotter string) {
	t.Helper()
	before, err := TakeInventory(t.Context(), c, snapshotter)
	if err != nil {
		t.Fatalf("leak check: %v", err)
	}
	t.Cleanup(func() {
		if err := before.Leaks(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// Inventory is what was there at one time of the things that a build must clean up.
type Inventory struct {
	client      *client.Client
	snapshotter string
	things      map[string]bool
}

// TakeInventory lists what is there now.
func TakeInventory(ctx context.Context, c *client.Client, snapshotter string) (Inventory, error) {
	inv := Inventory{client: c, snapshotter: snapshotter, things: map[string]bool{}}
	all, err := c.NamespaceService().List(ctx)
	if err != nil {
		return inv, fmt.Errorf("list namespaces: %w", err)
	}
	for _, namespace := range all {
		if err := inv.addEngine(namespaces.WithNamespace(ctx, namespace), namespace); err != nil {
			return inv, err
		}
	}
	return inv, inv.addMachine()
}

// On returns the same inventory of an engine that another client is of now, as of one that was opened again.
func (inv Inventory) On(c *client.Client) Inventory {
	inv.client = c
	return inv
}

// Leaks returns an error that names what is there now and was not in the inventory. It looks again for a while before
// it says so.
func (inv Inventory) Leaks(ctx context.Context) error {
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		now, err := TakeInventory(ctx, inv.client, inv.snapshotter)
		if err != nil {
			return fmt.Errorf("leak check: %w", err)
		}
		maps.DeleteFunc(now.things, func(thing string, _ bool) bool { return inv.things[thing] })
		if len(now.things) == 0 {
			return nil
		}
		if time.Since(start) > leakPatience {
			return fmt.Errorf("left behind:\n  %s", strings.Join(slices.Sorted(maps.Keys(now.things)), "\n  "))
		}
	}
}

// addEngine adds what the engine holds in the context's namespace.
func (inv Inventory) addEngine(ctx context.Context, namespace string) error {
	add := func(format string, args ...any) { inv.things[namespace+": "+fmt.Sprintf(format, args...)] = true }
	leases, err := inv.client.LeasesService().List(ctx)
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, lease := range leases {
		add("lease %s %v", lease.ID, lease.Labels)
	}
	ingests, err := inv.client.ContentStore().ListStatuses(ctx)
	if err != nil {
		return fmt.Errorf("list ingests: %w", err)
	}
	for _, ingest := range ingests {
		add("ingest %s", ingest.Ref)
	}
	err = inv.client.SnapshotService(inv.snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted {
			add("%s snapshot %s on %q", info.Kind, info.Name, info.Parent)
		}
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("list snapshots: %w", err)
	}
	return nil
}

// addMachine adds mounts and temporary files. Those that the harness and testing.T.TempDir make are cleaned up by them.
func (inv Inventory) addMachine() error {
	temp, err := privateTemp()
	if err != nil {
		return err
	}
	points, err := mountPoints(temp)
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, point := range points {
		inv.things["mount "+point] = true
	}
	entries, err := os.ReadDir(temp)
	if err != nil {
		return fmt.Errorf("list temporary files: %w", err)
	}
	for _, entry := range entries {
		if !ownTemp.MatchString(entry.Name()) {
			inv.things["temporary "+entry.Name()] = true
		}
	}
	return nil
}

var ownTemp = regexp.MustCompile(`^(vnr-|Test|Fuzz|Benchmark)`)
