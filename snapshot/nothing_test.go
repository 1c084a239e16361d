package snapshot_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/snapshot"
)

// onlyOfSomething refuses a view without a parent, as nydus-snapshotter does.
type onlyOfSomething struct{ snapshots.Snapshotter }

func (s onlyOfSomething) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	if parent == "" {
		return nil, fmt.Errorf("get snapshot  info: snapshot does not exist: %w", errdefs.ErrNotFound)
	}
	return s.Snapshotter.View(ctx, key, parent, opts...)
}

// TestViewOfNothing: where it is refused, it is an empty snapshot, read-only, of which nothing is left.
func TestViewOfNothing(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, ctx context.Context, e *engine.Engine) {
		w := newWorld(ctx, t, e)
		c, err := client.New("", client.WithServices(
			client.WithSnapshotters(map[string]snapshots.Snapshotter{e.Snapshotter: onlyOfSomething{w.sn}})))
		if err != nil {
			t.Fatal(err)
		}
		work, err := snapshot.NewReading(w.ctx, c, e.Snapshotter, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range work.Mounts() {
			if slices.Contains(m.Options, "rw") || !slices.Contains(m.Options, "ro") {
				t.Errorf("mount %+v is not read-only", m)
			}
		}
		if len(work.Mounts()) == 0 || len(work.Dirs()) != 1 {
			t.Fatalf("mounts %+v", work.Mounts())
		}
		if names, err := os.ReadDir(work.Dirs()[0]); err != nil || len(names) > 0 {
			t.Errorf("nothing has %v, %v", names, err)
		}
		if err := work.Close(w.ctx); err != nil {
			t.Error(err)
		}
		if _, err := snapshot.NewReading(w.ctx, c, e.Snapshotter, "sha256:none"); err == nil {
			t.Error("there is a view of what does not exist")
		}
	})
}
