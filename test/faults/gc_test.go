package faults_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"google.golang.org/protobuf/proto"

	"github.com/veneer-build/veneer/test/harness"
)

// collector collects garbage before and after each call.
type collector struct {
	world *world
	mu    sync.Mutex // a pull makes calls side by side
	count int
}

func (g *collector) before(context.Context, *call) error { return g.collect() }
func (g *collector) after(context.Context, *call) error  { return g.collect() }

func (g *collector) collect() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count++
	return collect(g.world.ctx, g.world.client)
}

// TestCollectionAtEveryCall: leases and labels keep everything at any time.
func TestCollectionAtEveryCall(t *testing.T) {
	eachWorld(t, nil, func(t *testing.T, w *world, sc scenario) {
		e := w.learn(sc)
		g := &collector{world: w}
		for v := range 2 {
			e.before(v)
			w.proxy.arm(g)
			o := w.run(nil, sc.args(v)...)
			w.proxy.arm(nil)
			if o.code != 0 {
				t.Fatalf("%s: exit code %d: %s", sc.name, o.code, o.stderr)
			}
			w.collect()
			e.wantWhole(func(format string, args ...any) { t.Errorf(format, args...) })
			w.ok(sc.pruning()...)
			if diff := w.state().diff(e.states[v]); len(diff) > 0 {
				t.Errorf("with collections it leaves\n\t%s", strings.Join(diff, "\n\t"))
			}
		}
		t.Logf("faults: %s, %s, %s, collections: %d tried, %[4]d survived", w.daemon.Kind, w.snapshotter, sc.name, g.count)
	})
}

// expiry makes the program's lease end in the past, as if the clock had been set forward by more than its life after it
// was made, and collects garbage before one call.
type expiry struct {
	world  *world
	n      int
	method string
}

func (x *expiry) before(_ context.Context, c *call) error {
	if c.method == "Leases/Create" {
		var req leasesapi.CreateRequest
		if err := proto.Unmarshal(c.message, &req); err != nil {
			return err
		}
		req.Labels["containerd.io/gc.expire"] = time.Now().Add(-time.Hour).Format(time.RFC3339)
		var err error
		if c.message, err = proto.Marshal(&req); err != nil {
			return err
		}
	}
	if c.n != x.n {
		return nil
	}
	x.method = c.method
	return collect(x.world.ctx, x.world.client)
}

func (x *expiry) after(context.Context, *call) error { return nil }

// removeOrphans removes directories of ingests without a name, which no call of the daemon's reaches. containerd leaves
// one where a collection takes an ingest that a stream still writes: the writer's end makes the file "updatedat" while the
// collection removes the directory (2.4.2, by reading). A lease that is alive prevents that; see TestCollectionAtEveryCall.
func (w *world) removeOrphans() {
	w.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(w.daemon.Root(), "io.containerd.content.v1.content", "ingest", "*"))
	must(w.t, err)
	for _, dir := range dirs {
		if _, err := os.Lstat(filepath.Join(dir, "ref")); os.IsNotExist(err) {
			must(w.t, os.RemoveAll(dir))
		}
	}
}

// TestLeaseEnds: where the lease is over before the build is, nothing incomplete gets a name.
func TestLeaseEnds(t *testing.T) {
	only := []string{"build"}
	if soak() {
		only = nil
	}
	eachWorld(t, only, func(t *testing.T, w *world, sc scenario) {
		e := w.learn(sc)
		tried := 0
		for n := 2; n <= len(e.calls[0]); n++ {
			// In the short form the last of each kind of call stands for all.
			if !soak() && slices.Contains(e.calls[0][n:], e.calls[0][n-1]) {
				continue
			}
			v := e.turn
			e.turn = 1 - v
			x := &expiry{world: w, n: n}
			e.before(v)
			w.proxy.arm(x)
			o := w.run(nil, sc.args(v)...)
			w.proxy.arm(nil)
			tried++
			if testing.Verbose() {
				t.Logf("collected at call %d (%s): exit code %d, %s", n, x.method, o.code, strings.TrimSpace(o.stderr))
			}
			problem := func(format string, args ...any) {
				t.Errorf("collected at call %d (%s): "+format, append([]any{n, x.method}, args...)...)
			}
			if o.code == 0 && len(sc.names) > 0 && sc.name == "build" || o.code != 0 && !message.MatchString(o.stderr) {
				problem("exit code %d: %s", o.code, o.stderr)
			}
			w.collect()
			e.wantWhole(problem)
			e.before(v)
			w.ok(sc.args(v)...)
			w.ok(sc.pruning()...)
			w.removeOrphans()
			if diff := w.state().diff(e.states[v]); len(diff) > 0 {
				problem("then\n\t%s", strings.Join(diff, "\n\t"))
				e.heal(v)
			}
		}
		t.Logf("faults: %s, %s, %s, lease ends: %d tried", w.daemon.Kind, w.snapshotter, sc.name, tried)
	})
}

// TestUnlabelledBlobs: what a build writes is here already, without labels, kept by somebody else for a while.
func TestUnlabelledBlobs(t *testing.T) {
	eachWorld(t, []string{"build", "build-service", "build-view"}, func(t *testing.T, w *world, sc scenario) {
		e := w.learn(sc)
		// Everything of the second variant stays, by a name of its own, but loses its labels.
		name := sc.names[0]
		ctx, done, err := w.client.WithLease(w.ctx)
		must(t, err)
		id, _ := leases.FromContext(ctx)
		var blobs []cstore.Info
		must(t, w.client.ContentStore().Walk(w.ctx, func(info cstore.Info) error {
			blobs = append(blobs, info)
			return nil
		}))
		for _, info := range blobs {
			if !e.states[0].mentions(info.Digest.String()) {
				r := leases.Resource{Type: "content", ID: info.Digest.String()}
				must(t, w.client.LeasesService().AddResource(w.ctx, leases.Lease{ID: id}, r))
				_, err := w.client.ContentStore().Update(w.ctx, cstore.Info{Digest: info.Digest, Labels: map[string]string{}}, "labels")
				must(t, err)
			}
		}
		must(t, w.client.ImageService().Delete(w.ctx, name))
		e.before(1)
		w.ok(sc.args(1)...)
		must(t, done(w.ctx))
		w.collect()
		w.ok("prune")
		if diff := w.state().diff(e.states[1]); len(diff) > 0 {
			t.Errorf("on blobs without labels it leaves\n\t%s", strings.Join(diff, "\n\t"))
		}
		e.wantWhole(func(format string, args ...any) { t.Errorf(format, args...) })
	})
}

// removal removes an image before one call, and collects what it kept.
type removal struct {
	world  *world
	image  string
	n      int
	method string
}

func (r *removal) before(_ context.Context, c *call) error {
	if c.n != r.n {
		return nil
	}
	r.method = c.method
	if err := r.world.client.ImageService().Delete(r.world.ctx, r.image); err != nil {
		return err
	}
	return collect(r.world.ctx, r.world.client)
}

func (r *removal) after(context.Context, *call) error { return nil }

// importedBase is the base that others have imported, and that goes.
const importedBase = "docker.io/library/base:1"

// TestBaseRemoved: the base goes at any time of a build, its blobs and its snapshot with it. The image is whole all the
// same, or the build says that the base is not there, and leaves nothing.
func TestBaseRemoved(t *testing.T) {
	eachDaemon(t, func(t *testing.T, w *world) {
		build := []string{"build", "--from", "base:1", "--sync", w.source(0) + ":/app", "-t", "app:v"}
		for name, c := range map[string]struct {
			unpacked bool // the base is, before
			flags    []string
		}{
			"not-unpacked": {unpacked: false},
			"unpacked":     {unpacked: true},
			"no-snapshot":  {flags: []string{"--no-unpack"}},
		} {
			t.Run(name, func(t *testing.T) {
				outer := w.t
				w.t = t
				defer func() { w.t = outer }()
				w.baseRemoved(c.unpacked, append(slices.Clone(build), c.flags...))
			})
		}
	})
}

// baseRemoved removes the base at each call of a build.
func (w *world) baseRemoved(unpacked bool, build []string) {
	w.t.Helper()
	w.onlyBase(unpacked)
	w.ok(build...)
	calls := w.proxy.counted()
	must(w.t, w.client.ImageService().Delete(w.ctx, importedBase))
	whole := w.kept()
	tried, built := 0, 0
	for n := 1; n <= len(calls); n++ {
		// In the short form the last of each kind of call stands for all but the first two, which look for the base.
		if !soak() && n > 2 && slices.Contains(calls[n:], calls[n-1]) {
			continue
		}
		w.onlyBase(unpacked)
		r := &removal{world: w, image: importedBase, n: n}
		w.proxy.arm(r)
		o := w.run(nil, build...)
		w.proxy.arm(nil)
		tried++
		want := state{}
		switch {
		case o.code == 0:
			built++
			want = whole
		case !message.MatchString(o.stderr) || !baseGone.MatchString(o.stderr):
			w.t.Errorf("removed at call %d (%s): exit code %d, %s", n, r.method, o.code, o.stderr)
		}
		if diff := w.kept().diff(want); len(diff) > 0 {
			w.t.Errorf("removed at call %d (%s): exit code %d, %s and it leaves\n\t%s", n, r.method, o.code, o.stderr, strings.Join(diff, "\n\t"))
		}
	}
	w.t.Logf("faults: %s, %s, %s, base removed: %d tried, %d built", w.daemon.Kind, w.snapshotter, w.t.Name(), tried, built)
}

// baseGone is how a build says that its base was removed.
var baseGone = regexp.MustCompile(`no image "base:1"|image docker.io/library/base:1 was removed`)

// onlyBase leaves the base and no other image, as it was imported.
func (w *world) onlyBase(unpacked bool) {
	w.t.Helper()
	all, err := w.client.ImageService().List(w.ctx)
	must(w.t, err)
	for _, img := range all {
		must(w.t, w.client.ImageService().Delete(w.ctx, img.Name))
	}
	w.collect()
	if unpacked {
		w.daemon.Import(w.t, w.at("base.tar"), w.snapshotter)
		return
	}
	f, err := os.Open(w.at("base.tar"))
	must(w.t, err)
	defer f.Close() // only read
	_, err = w.client.Import(w.ctx, f)
	must(w.t, err)
}

// kept is what the daemon keeps when garbage is collected, and what the program left in use.
func (w *world) kept() state {
	w.t.Helper()
	w.collect()
	s := w.state()
	maps.DeleteFunc(s, func(line string, _ bool) bool { return strings.HasPrefix(line, "file ") })
	return s
}

// TestSourceRemoved: the image that a delta is from goes at any time, its blobs and its snapshot with it. A pull gives the
// image all the same, by its layers where the files are gone. A load does, or says what is not there.
func TestSourceRemoved(t *testing.T) {
	if !soak() {
		t.Skip("for make soak: each call takes seconds")
	}
	eachWorld(t, []string{"pull-delta", "load-delta"}, func(t *testing.T, w *world, sc scenario) {
		e := w.learn(sc)
		made, source := sc.names[0], sc.names[1]
		record, err := w.client.ImageService().Get(w.ctx, source)
		must(t, err)
		archive := w.at(sc.name + "-source.tar")
		w.ok("save", source, "-o", archive)
		tried, whole := 0, 0
		for n := 1; n <= len(e.calls[0]); n++ {
			must(t, w.client.ImageService().Delete(w.ctx, made))
			w.collect()
			e.before(0)
			r := &removal{world: w, image: source, n: n}
			w.proxy.arm(r)
			o := w.run(nil, sc.args(0)...)
			w.proxy.arm(nil)
			tried++
			problem := func(format string, args ...any) {
				t.Errorf("removed at call %d (%s): "+format, append([]any{n, r.method}, args...)...)
			}
			w.collect()
			switch d, files, err := w.whole(made); {
			case o.code == 0 && err == nil && maps.Equal(files, e.files[d]):
				whole++
			case o.code == 0 || sc.name == "pull-delta" || !message.MatchString(o.stderr):
				problem("exit code %d, whole: %v: %s", o.code, err, o.stderr)
			}
			if left := w.state().leftovers(); len(left) > 0 {
				problem("it leaves %q", left)
			}
			// The name of what was saved is in the archive.
			w.ok("load", archive)
			if again, err := w.client.ImageService().Get(w.ctx, source); err != nil || again.Target.Digest != record.Target.Digest {
				t.Fatalf("%s came back as %s: %v", source, again.Target.Digest, err)
			}
			w.ok(sc.args(0)...)
		}
		t.Logf("faults: %s, %s, %s, source removed: %d tried, %d whole", w.daemon.Kind, w.snapshotter, sc.name, tried, whole)
	})
}

// eachWorld runs a test with each scenario, or those that only names, in each world.
func eachWorld(t *testing.T, only []string, do func(t *testing.T, w *world, sc scenario)) {
	t.Helper()
	eachDaemon(t, func(t *testing.T, w *world) {
		for _, sc := range w.scenarios() {
			if !chosen(sc.name) || only != nil && !slices.Contains(only, sc.name) {
				continue
			}
			t.Run(sc.name, func(t *testing.T) {
				outer := w.t
				w.t = t
				defer func() { w.t = outer }()
				do(t, w, sc)
			})
		}
	})
}

// eachDaemon runs a test in a world of each daemon and snapshotter; in the short form, of one.
func eachDaemon(t *testing.T, do func(t *testing.T, w *world)) {
	t.Helper()
	harness.RequireRoot(t)
	for _, kind := range harness.Daemons(t) {
		if kind != harness.Containerd2 && !soak() {
			continue
		}
		for _, snapshotter := range harness.Snapshotters() {
			if snapshotter != "overlayfs" && !soak() {
				continue
			}
			t.Run(string(kind)+"/"+snapshotter, func(t *testing.T) {
				do(t, newWorld(t, kind, snapshotter))
			})
		}
	}
}
