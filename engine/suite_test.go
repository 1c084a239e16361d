package engine_test

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
)

// TestSnapshotterContract runs containerd's own contract suite through the
// embedded engine's client, as a daemon's tests run it behind the socket.
func TestSnapshotterContract(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds or more")
	}
	enginetest.Root(t)
	const name = "overlayfs"
	testsuite.SnapshotterSuite(t, name, func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		e, err := engine.Open(ctx, engine.Options{Mode: engine.Embedded, Root: root, Snapshotter: name})
		if err != nil {
			return nil, nil, err
		}
		return e.Client.SnapshotService(name), e.Close, nil
	})
}
