package veneer_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/snapshot"
)

// onStep calls a function once, when a verb's first step begins.
type onStep struct{ do func() }

func (s *onStep) Step(veneer.Step) {
	if s.do != nil {
		s.do()
		s.do = nil
	}
}

func (*onStep) Count(int64, int64) {}
func (*onStep) Done()              {}

// TestCommitLooksUpOnce: while a commit runs, the container's name goes to another container, which was made from
// another image. The result is of the first one, base and files.
func TestCommitLooksUpOnce(t *testing.T) {
	e, ctx := enginetest.Open(t, engine.Options{Mode: engine.Containerd, Address: enginetest.Daemon(t)})
	const name = "nerdctl/name"
	for _, id := range []string{"first", "second"} {
		src := t.TempDir()
		write(t, src, "base", id)
		base := mustBuild(t, e, veneer.BuildRequest{
			Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"base-of-" + id}},
		})
		stopped(ctx, t, e, containers.Container{ID: id, Image: base.Names[0]}, base.ChainID.String())
	}
	store := e.Client.ContainerService()
	rename := func(id, to string) {
		c := containers.Container{ID: id, Labels: map[string]string{name: to}}
		if _, err := store.Update(ctx, c, "labels."+name); err != nil {
			t.Error(err)
		}
	}
	rename("first", "web")
	moved := false
	res, err := veneer.Commit(ctx, e, veneer.CommitRequest{
		Container: "web", ImageOptions: veneer.ImageOptions{Tags: []string{"committed"}},
		Reports: veneer.Reports{Progress: &onStep{do: func() {
			rename("first", "was-web")
			rename("second", "web")
			moved = true
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !moved {
		t.Fatal("the name did not move: the test shows nothing")
	}
	if res.Base != "docker.io/library/base-of-first:latest" {
		t.Errorf("the base is %s", res.Base)
	}
	compared, err := veneer.Compare(ctx, e, veneer.CompareRequest{A: "committed", B: "container:first"})
	if err != nil {
		t.Fatal(err)
	}
	if len(compared.Changes) > 0 {
		t.Errorf("the image and the container that was named first differ: %+v", compared.Changes)
	}
}

// stopped makes a container that has never run, with a file of its own.
func stopped(ctx context.Context, t *testing.T, e *engine.Engine, c containers.Container, parent string) {
	t.Helper()
	c.Snapshotter, c.SnapshotKey, c.Runtime.Name = e.Snapshotter, "rootfs-of-"+c.ID, "io.containerd.runc.v2"
	c.Spec = noSpec{}
	sn := e.Client.SnapshotService(e.Snapshotter)
	// The container comes first: a collection takes a snapshot that nothing refers to.
	if _, err := e.Client.ContainerService().Create(ctx, c); err != nil {
		t.Fatal(err)
	}
	if _, err := sn.Prepare(ctx, c.SnapshotKey, parent); err != nil {
		t.Fatal(err)
	}
	active, err := snapshot.FindActive(ctx, sn, c.SnapshotKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(active.Dirs[0], "written"), []byte("by "+c.ID), 0o600); err != nil {
		t.Fatal(err)
	}
}

// noSpec is the specification of a container that never runs.
type noSpec struct{}

func (noSpec) GetTypeUrl() string { //nolint:revive,staticcheck // typeurl.Any has it so
	return "types.containerd.io/opencontainers/runtime-spec/1/Spec"
}

func (noSpec) GetValue() []byte { return []byte("{}") }
