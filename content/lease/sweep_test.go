package lease_test

import (
	"context"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
)

func TestLease(t *testing.T) {
	ctx, s := storetest.Open(t)
	cctx, cancel := context.WithCancel(ctx)
	leased, release, err := lease.New(cctx, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	inner, innerRelease, err := lease.New(leased, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	a, _ := leases.FromContext(leased)
	b, _ := leases.FromContext(inner)
	if a == "" || a != b {
		t.Errorf("leases %q, %q", a, b)
	}
	s.Put(leased, t, storetest.JSON("", `{}`))
	if err := innerRelease(inner, leases.SynchronousDelete); err != nil {
		t.Error(err)
	}
	s.Collect(ctx, t)
	if len(s.Blobs(ctx, t)) != 1 {
		t.Error("the inner release ended the outer lease")
	}
	cancel()
	for range 2 {
		if err := release(leased, leases.SynchronousDelete); err != nil {
			t.Error(err)
		}
	}
	if blobs := s.Blobs(ctx, t); len(blobs) != 0 {
		t.Errorf("left %v", blobs)
	}
}

func TestSweep(t *testing.T) {
	ctx, s := storetest.Open(t)

	running, release, err := lease.New(ctx, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	labels := leaseLabels(ctx, t, s)
	leaveBuild(running, t, s, "running")

	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	with := func(k, v string) map[string]string {
		l := map[string]string{"containerd.io/gc.expire": time.Now().Add(time.Hour).Format(time.RFC3339)}
		for key, value := range labels {
			if key != "containerd.io/gc.expire" {
				l[key] = value
			}
		}
		l[k] = v
		return l
	}
	other := with("veneer.build/start", "1")
	other["veneer.build/timens"] = "time:[1]"
	expired := with("veneer.build/pidns", "pid:[1]")
	expired["containerd.io/gc.expire"] = time.Now().Add(-time.Minute).Format(time.RFC3339)
	for name, l := range map[string]map[string]string{
		"killed":    with("veneer.build/pid", strconv.Itoa(gone.Process.Pid)),
		"reused":    with("veneer.build/start", "1"),
		"unbooted":  with("veneer.build/boot", "another"), // made since the host booted
		"othertime": other,
		"elsewhere": with("veneer.build/pidns", "pid:[1]"),
		"expired":   expired,
	} {
		lease, err := s.LeasesService().Create(ctx, leases.WithID("veneer-"+name), leases.WithLabels(l))
		if err != nil {
			t.Fatal(err)
		}
		leaveBuild(leases.WithLease(ctx, lease.ID), t, s, name)
	}
	paused := with("veneer.build/pid", strconv.Itoa(gone.Process.Pid))
	paused["veneer.build/paused"] = "container"
	if _, err := s.LeasesService().Create(ctx, leases.WithID("veneer-paused"), leases.WithLabels(paused)); err != nil {
		t.Fatal(err)
	}
	foreign, err := s.LeasesService().Create(ctx, leases.WithID("theirs"))
	if err != nil {
		t.Fatal(err)
	}
	leaveBuild(leases.WithLease(ctx, foreign.ID), t, s, "theirs")

	swept, err := lease.Sweep(ctx, s.Client, "native")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(swept.Leases)
	slices.Sort(swept.Snapshots)
	slices.Sort(swept.Ingests)
	want := []string{"killed", "reused"}
	wantLeases := []string{"veneer-killed", "veneer-reused"}
	// The store's own manager lists no expired lease any more or still does:
	// what the lease held is gone either way.
	swept.Leases = slices.DeleteFunc(swept.Leases, func(id string) bool { return id == "veneer-expired" })
	drop := func(s string) bool { return s == "expired" || s == "veneer-expired" }
	swept.Snapshots = slices.DeleteFunc(swept.Snapshots, drop)
	swept.Ingests = slices.DeleteFunc(swept.Ingests, drop)
	if !slices.Equal(swept.Leases, wantLeases) || !slices.Equal(swept.Snapshots, want) || !slices.Equal(swept.Ingests, wantLeases) {
		t.Errorf("swept %+v", swept)
	}
	for name, stays := range map[string]bool{"running": true, "elsewhere": true, "unbooted": true, "othertime": true, "theirs": true, "killed": false, "expired": false} {
		if _, err := s.SnapshotService("native").Stat(ctx, name); (err == nil) != stays {
			t.Errorf("snapshot of %s: %v, want it to stay: %v", name, err, stays)
		}
		if _, ok := s.Blobs(ctx, t)[digest.FromString(name)]; ok != stays {
			t.Errorf("blob of %s is there: %v, want %v", name, ok, stays)
		}
	}
	if err := release(ctx); err != nil {
		t.Error(err)
	}
	left, err := lease.LeftPaused(ctx, s.LeasesService())
	if err != nil || len(left) != 1 || left[0].Container != "container" {
		t.Errorf("paused containers %+v, %v", left, err)
	}
	if again, err := lease.Sweep(ctx, s.Client, "native"); err != nil || len(again.Leases) != 0 {
		t.Errorf("second sweep %+v, %v", again, err)
	}
}

// A snapshotter that the engine does not have is an error. What else was left is swept all the same.
func TestSweepNoSnapshotter(t *testing.T) {
	ctx, s := storetest.Open(t)
	_, release, err := lease.New(ctx, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	labels := leaseLabels(ctx, t, s)
	if err := release(ctx); err != nil {
		t.Fatal(err)
	}
	labels["veneer.build/start"] = "1" // of a process before this one
	killed, err := s.LeasesService().Create(ctx, leases.WithID("veneer-killed"), leases.WithLabels(labels))
	if err != nil {
		t.Fatal(err)
	}
	openIngest(leases.WithLease(ctx, killed.ID), t, s, "veneer-killed")
	left, err := lease.Left(ctx, s.Client, "none")
	if !errdefs.IsNotFound(err) || len(left.Ingests) != 1 {
		t.Errorf("left %+v, %v", left, err)
	}
	swept, err := lease.Sweep(ctx, s.Client, "none")
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "none") || len(swept.Ingests) != 1 || len(swept.Leases) != 1 {
		t.Errorf("swept %+v, %v", swept, err)
	}
	if _, err := lease.Sweep(ctx, s.Client, ""); err != nil {
		t.Errorf("without a snapshotter: %v", err)
	}
}

// leaveBuild leaves what a build has at work: a snapshot, a blob, an ingest.
func leaveBuild(ctx context.Context, t *testing.T, s storetest.Store, name string) {
	t.Helper()
	if _, err := s.SnapshotService("native").Prepare(ctx, name, "", snapshots.WithLabels(map[string]string{lease.LabelTemporary: name})); err != nil {
		t.Fatal(err)
	}
	s.Put(ctx, t, storetest.NewBlob("", []byte(name)))
	openIngest(ctx, t, s, "veneer-"+name)
}

func leaseLabels(ctx context.Context, t *testing.T, s storetest.Store) map[string]string {
	t.Helper()
	all, err := s.LeasesService().List(ctx)
	if err != nil || len(all) != 1 {
		t.Fatalf("leases %v, %v", all, err)
	}
	return all[0].Labels
}

// openIngest leaves a half-written blob, as a killed writer does.
func openIngest(ctx context.Context, t *testing.T, s storetest.Store, ref string) {
	t.Helper()
	w, err := cstore.OpenWriter(ctx, s.ContentStore(), cstore.WithRef(ref))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSweepCountsPulls: half a blob of a pull, whose name is not Veneer's own, is counted if only a lease that is over keeps it.
func TestSweepCountsPulls(t *testing.T) {
	ctx, s := storetest.Open(t)
	running, release, err := lease.New(ctx, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	killed := leaseLabels(ctx, t, s)
	killed["veneer.build/start"] = "1"
	over, err := s.LeasesService().Create(ctx, leases.WithID("veneer-killed"), leases.WithLabels(killed))
	if err != nil {
		t.Fatal(err)
	}
	for ref, in := range map[string]context.Context{"layer-a": leases.WithLease(ctx, over.ID), "layer-b": running, "layer-c": ctx} {
		openIngest(in, t, s, ref)
	}
	left, err := lease.Left(ctx, s.Client, "native")
	if err != nil || !slices.Equal(left.Ingests, []string{"layer-a"}) || left.IngestBytes != 4 {
		t.Errorf("left %+v, %v", left, err)
	}
	if swept, err := lease.Sweep(ctx, s.Client, "native"); err != nil || !slices.Equal(swept.Ingests, left.Ingests) || swept.IngestBytes != 4 {
		t.Errorf("swept %+v, %v", swept, err)
	}
	if _, err := s.ContentStore().Status(ctx, "layer-b"); err != nil {
		t.Errorf("that of a running pull: %v", err)
	}
	if err := release(ctx); err != nil {
		t.Error(err)
	}
}
