package run_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/image-spec/identity"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// fixture is an engine that has Debian unpacked.
type fixture struct {
	*engine.Engine
	ctx    context.Context
	runner run.Runner
	base   string
	notes  *[]string
}

// each runs a test on the embedded engine and on each containerd that there is,
// with Debian's root file system in a committed snapshot.
func each(t *testing.T, fn func(t *testing.T, f *fixture)) {
	harness.RequireRoot(t)
	t.Run("embedded", func(t *testing.T) { fn(t, embedded(t, "overlayfs")) })
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			o := engine.Options{Mode: engine.Containerd, Address: d.Address(), Root: filepath.Join(t.TempDir(), "root")}
			e, ctx := enginetest.Open(t, o)
			fn(t, open(t, ctx, e, run.Options{}))
		})
	}
}

func embedded(t *testing.T, snapshotter string) *fixture {
	t.Helper()
	harness.RequireRoot(t)
	harness.Check(t, harness.Installed("runc", "runc"))
	e, ctx := enginetest.Embedded(t, snapshotter)
	if err := e.Unpacks(); err != nil {
		t.Skip(err)
	}
	return open(t, ctx, e, run.Options{})
}

func open(t *testing.T, ctx context.Context, e *engine.Engine, o run.Options) *fixture {
	t.Helper()
	f := &fixture{Engine: e, ctx: ctx, notes: new([]string)}
	o.Notify = func(line string) { *f.notes = append(*f.notes, line) }
	if o.CNI.ConfDir == "" {
		o.CNI.ConfDir = t.TempDir() // Nothing is configured there.
	}
	var err error
	if f.runner, err = run.New(e, o); err != nil {
		t.Fatal(err)
	}
	archive, err := os.Open(harness.DebianImage(t))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	images, err := e.Client.Import(ctx, archive)
	if err != nil {
		t.Fatal(err)
	}
	image, err := e.Client.GetImage(ctx, images[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Unpack(ctx, e.Snapshotter); err != nil {
		t.Fatal(err)
	}
	ids, err := image.RootFS(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f.base = identity.ChainID(ids).String()
	return f
}

// active prepares a snapshot on Debian, which setup may change first.
func (f *fixture) active(t *testing.T, setup func(root string) error) []mount.Mount {
	t.Helper()
	lease, err := f.Client.LeasesService().Create(f.ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Client.LeasesService().Delete(context.WithoutCancel(f.ctx), lease); err != nil {
			t.Error(err)
		}
	})
	mounts, err := f.Client.SnapshotService(f.Snapshotter).Prepare(leases.WithLease(f.ctx, lease.ID), "test-"+rand.Text(), f.base)
	if err != nil {
		t.Fatal(err)
	}
	if setup != nil {
		f.look(t, mounts, setup)
	}
	return mounts
}

// look mounts a snapshot for a moment.
func (f *fixture) look(t *testing.T, mounts []mount.Mount, do func(root string) error) {
	t.Helper()
	if err := mount.WithTempMount(f.ctx, mounts, do); err != nil {
		t.Fatal(err)
	}
}

// sh runs a shell script and returns its output.
func (f *fixture) sh(t *testing.T, mounts []mount.Mount, p run.Process, script string) (string, error) {
	t.Helper()
	if p.Args == nil {
		p.Args = []string{"/bin/sh", "-c", script}
	}
	p.Env = append(p.Env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	var out bytes.Buffer
	p.Stdout, p.Stderr = &out, &out
	err := f.runner.Run(f.ctx, mounts, p)
	return out.String(), err
}

// must is sh for scripts that succeed.
func (f *fixture) must(t *testing.T, mounts []mount.Mount, p run.Process, script string) string {
	t.Helper()
	out, err := f.sh(t, mounts, p, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// bind is the mount of a directory or file.
func bind(path string) []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: path, Options: []string{"rbind", "rw"}}}
}

// nothingLeft fails the test if a sandbox, container or cgroup is there.
func (f *fixture) nothingLeft(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(f.Root, "run"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, e := range entries {
		if e.Name() != "owner" {
			t.Errorf("left in %s: %s", f.Root, e.Name())
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/veneer-run-*", "/sys/fs/cgroup/*/veneer-run-*"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			t.Errorf("left: %v", found)
		}
	}
	containers, err := f.Client.ContainerService().List(f.ctx)
	if err != nil {
		t.Error(err)
	}
	for i := range containers {
		t.Errorf("left: container %s", containers[i].ID)
	}
}
