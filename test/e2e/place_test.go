package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/test/harness"
	"github.com/veneer-build/veneer/test/trees"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// epoch is the SOURCE_DATE_EPOCH of all builds: in the past of every source's times, and after the base's.
var epoch = time.Unix(1_750_000_000, 0).UTC()

// place is one engine with one snapshotter.
type place struct {
	ctx    context.Context //nolint:containedctx // of the test, with the engine's namespace
	engine *engine.Engine
	// daemon is nil where the engine is the embedded one.
	daemon *harness.Daemon
}

// eachPlace runs a test on every engine with every snapshotter. It fails if the test leaves anything behind.
func eachPlace(t *testing.T, fn func(t *testing.T, p *place)) {
	t.Helper()
	inPlaces(t, func(harness.DaemonKind) []string { return harness.Snapshotters() }, fn)
}

// eachEngine is eachPlace for tests that unpack whole systems and are about other things than snapshots: in the short
// form they have overlayfs alone.
func eachEngine(t *testing.T, fn func(t *testing.T, p *place)) {
	t.Helper()
	inPlaces(t, func(harness.DaemonKind) []string { return shortly("overlayfs") }, fn)
}

// shortly returns what of the snapshotters is for the short form, and all of them in the long one.
func shortly(short ...string) []string {
	if soak() {
		return harness.Snapshotters()
	}
	return short
}

// inPlaces runs a test on every engine, with the snapshotters for each; the embedded one's kind is empty.
func inPlaces(t *testing.T, with func(harness.DaemonKind) []string, fn func(t *testing.T, p *place)) {
	t.Helper()
	harness.RequireRoot(t)
	snapshotters := func(t *testing.T, d *harness.Daemon) {
		kind := harness.DaemonKind("")
		if d != nil {
			kind = d.Kind
		}
		for _, snapshotter := range with(kind) {
			t.Run(snapshotter, func(t *testing.T) { fn(t, newPlace(t, d, snapshotter)) })
		}
	}
	t.Run("embedded", func(t *testing.T) { snapshotters(t, nil) })
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) { snapshotters(t, harness.Start(t, kind)) })
	}
}

// newPlace opens the daemon's engine, or an embedded one in a directory of the test's.
func newPlace(t *testing.T, d *harness.Daemon, snapshotter string) *place {
	t.Helper()
	harness.RequireRoot(t)
	o := engine.Options{Mode: engine.Embedded, Root: filepath.Join(t.TempDir(), "root"), Snapshotter: snapshotter}
	if d != nil {
		o.Mode, o.Address = engine.Containerd, d.Address()
	}
	e, err := engine.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	harness.LeakCheck(t, e.Client, snapshotter)
	harness.KernelLogClean(t)
	return &place{ctx: e.Context(t.Context()), engine: e, daemon: d}
}

// embedded opens an embedded engine for tests that would say nothing new elsewhere.
func embedded(t *testing.T) *place {
	t.Helper()
	return newPlace(t, nil, "overlayfs")
}

// load loads an archive.
func (p *place) load(t *testing.T, file string, names ...string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := archive.Import(p.ctx, p.engine.Client, f, archive.Options{Names: names}); err != nil {
		t.Fatal(err)
	}
}

// loadDebian loads the Debian base image.
func (p *place) loadDebian(t *testing.T) {
	t.Helper()
	p.load(t, harness.DebianImage(t))
}

// build builds with the tests' epoch.
func (p *place) build(t *testing.T, req veneer.BuildRequest) *veneer.Result {
	t.Helper()
	req.Epoch = &epoch
	res, err := veneer.Build(p.ctx, p.engine, req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// describe returns what is below a directory of a chain's snapshot.
func (p *place) describe(t *testing.T, chain digest.Digest, dir string, times bool) map[string]string {
	t.Helper()
	ctx, release, err := lease.New(p.ctx, p.engine.Client.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := release(ctx); err != nil {
			t.Error(err)
		}
	}()
	view, err := snapshot.OpenView(ctx, p.engine.Client.SnapshotService(p.engine.Snapshotter), chain.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := view.Close(); err != nil {
			t.Error(err)
		}
	}()
	return describe(t, filepath.Join(view.Dir(), dir), times)
}

func describe(t *testing.T, dir string, times bool) map[string]string {
	t.Helper()
	lines, err := trees.Describe(dir, times)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// wantSame fails the test for each path in which two descriptions disagree, up to a few.
func wantSame(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	const most = 10
	diff := trees.Diff(want, got)
	for i, line := range diff {
		if i == most {
			t.Errorf("%s: and %d more", what, len(diff)-most)
			return
		}
		t.Errorf("%s: %s", what, line)
	}
}

// agreement collects what must be the same everywhere.
type agreement map[string]string

// check fails the test if the value is not the one that was seen first.
func (a agreement) check(t *testing.T, what, value string) {
	t.Helper()
	if first, ok := a[what]; ok && value != first {
		t.Errorf("%s is %s, elsewhere %s", what, value, first)
	} else if !ok {
		a[what] = value
	}
}
