package faults_test

import (
	"context"
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
			w.ok("prune")
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
			w.ok("prune")
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

// eachWorld runs a test with each scenario, or those that only names, on each daemon and snapshotter; in the short
// form, on one.
func eachWorld(t *testing.T, only []string, do func(t *testing.T, w *world, sc scenario)) {
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
				w := newWorld(t, kind, snapshotter)
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
	}
}
