package faults_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// diskWorld is a world whose daemon has its database, its blobs and its snapshots on a small disk each.
type diskWorld struct {
	*world
	database, content, snapshots *disk
}

func newDiskWorld(t *testing.T, kind harness.DaemonKind, snapshotter string) diskWorld {
	t.Helper()
	w := newWorld(t, kind, snapshotter)
	small := func(dir string) *disk { return newDisk(t, w.daemon.Root()+dir, "-N", "1024") }
	dw := diskWorld{
		world: w, database: small(""),
		content: small("/io.containerd.content.v1.content"), snapshots: small("/io.containerd.snapshotter.v1." + snapshotter),
	}
	dw.restart()
	w.base()
	return dw
}

// TestFullDiskDaemon has each of a daemon's disks full, in blocks and in inodes, at each step of a build.
func TestFullDiskDaemon(t *testing.T) {
	harness.RequireRoot(t)
	for _, kind := range harness.Daemons(t) {
		for _, snapshotter := range harness.Snapshotters() {
			if (kind != harness.Containerd2 || snapshotter != "overlayfs") && !soak() {
				continue
			}
			t.Run(string(kind)+"/"+snapshotter, func(t *testing.T) {
				w := newDiskWorld(t, kind, snapshotter)
				for _, sc := range w.heavy() {
					t.Run(sc.name, func(t *testing.T) {
						outer := w.t
						w.t = t
						defer func() { w.t = outer }()
						e := w.learn(sc)
						for _, sh := range w.shortages() {
							sh.sweep(t, string(kind), func(room int64) bool { return e.starve(sh, room) })
						}
					})
				}
			})
		}
	}
}

// heavy are builds of a few megabytes; in the short form, one.
func (w diskWorld) heavy() []scenario {
	w.t.Helper()
	var sources [2]string
	for v := range sources {
		sources[v] = w.at(fmt.Sprintf("heavy%d", v))
		noise(w.t, sources[v]+"/big", 4<<20)
		w.write(fmt.Sprintf("heavy%d/sub/small", v), "small\n")
	}
	build := func(name string, extra ...string) scenario {
		return scenario{
			name: name, names: []string{"docker.io/library/" + name + ":v", "docker.io/library/base:2"},
			args: func(v int) []string {
				return append([]string{"build", "--from", "base:2", "--sync", sources[v] + ":/app", "-t", name + ":v"}, extra...)
			},
		}
	}
	all := []scenario{build("build")}
	if soak() {
		all = append(all, build("build-view", "--reader", "view"))
		if w.daemon.Kind == harness.Containerd2 { // as in scenarios
			all = append(all, build("build-service", "--differ", "service"))
		}
	}
	return all
}

// TestFullDiskCommit has a daemon's disks full while the files that a container wrote become an image.
func TestFullDiskCommit(t *testing.T) {
	w := newDiskWorld(t, harness.Containerd2, "overlayfs")
	sc := w.committing()
	for v := range 2 {
		mounts, err := w.client.SnapshotService(w.snapshotter).Mounts(w.ctx, fmt.Sprintf("container%d", v))
		must(t, err)
		must(t, mount.WithTempMount(w.ctx, mounts, func(dir string) error {
			noise(t, filepath.Join(dir, "srv", fmt.Sprintf("big%d", v)), 4<<20)
			return nil
		}))
	}
	e := w.learn(sc)
	rooms := []int64{0, 2 << 20, 7 << 20}
	if soak() {
		rooms = upTo(9<<20, 30)
	}
	for _, sh := range []shortage{
		{"bytes of the content store", w.content.fill, rooms},
		{"bytes of the snapshots", w.snapshots.fill, rooms},
	} {
		sh.sweep(t, "commit", func(room int64) bool { return e.starve(sh, room) })
	}
}

// shortages are of each disk.
func (w diskWorld) shortages() []shortage {
	bytes, blocks, inodes := []int64{0, 2 << 20, 6 << 20}, []int64{0, 4, 64}, []int64{0, 3, 5, 40}
	if soak() {
		bytes, blocks, inodes = append(upTo(256<<10, 33), upTo(9<<20, 19)[1:]...), upTo(64, 33), upTo(40, 41)
	}
	return []shortage{
		{"the database's blocks", w.fillDatabase, blocks},
		{"bytes of the content store", w.content.fill, bytes},
		{"inodes of the content store", w.fillIngests, inodes},
		{"bytes of the snapshots", w.snapshots.fill, bytes},
		{"inodes of the snapshots", w.snapshots.fillInodes, inodes},
	}
}

// fillIngests leaves so many inodes of the content store; what the store has forgotten goes when there is room again.
func (w diskWorld) fillIngests(inodes int64) (remove func()) {
	w.t.Helper()
	empty := w.content.fillInodes(inodes)
	return func() {
		empty()
		w.removeNameless()
	}
}

// fillDatabase leaves so many blocks for the daemon's database to grow, which has no free pages left in its file: leases
// have taken them.
func (w diskWorld) fillDatabase(blocks int64) (remove func()) {
	w.t.Helper()
	manager := w.client.LeasesService()
	empty := w.database.fill(0)
	var taken []leases.Lease
	for size := 4000; size > 0; size /= 8 {
		for {
			l, err := manager.Create(w.ctx, leases.WithRandomID(), leases.WithLabels(map[string]string{"filler": strings.Repeat("x", size)}))
			if err != nil {
				if !strings.Contains(err.Error(), unix.ENOSPC.Error()) {
					w.t.Fatal(err)
				}
				break
			}
			taken = append(taken, l)
		}
	}
	empty()
	empty = w.database.fill(blocks * 4096)
	return func() {
		empty()
		for _, l := range taken {
			must(w.t, manager.Delete(w.ctx, l))
		}
	}
}

// starve runs the scenario with so much room, and says whether that was too little. Then the error must say so, all
// names be whole, and nothing be left after prune; and with room again, the same command must work.
func (e *expected) starve(sh shortage, room int64) (full bool) {
	e.t.Helper()
	v := e.turn
	e.turn = 1 - v
	problem := func(format string, args ...any) {
		e.t.Errorf("%s, room for %d: "+format, append([]any{sh.name, room}, args...)...)
	}
	e.before(v)
	remove := sh.fill(room)
	o := e.run(nil, e.args(v)...)
	remove()
	e.recovers(v, o, unix.ENOSPC, problem)
	return o.code != 0
}

// recovers looks at what a run left whose disk has failed with an error, and now works: if it did not succeed, it says
// so in one line, and prune takes away all that it left. The same command then works.
func (e *expected) recovers(v int, o outcome, cause error, problem func(string, ...any)) {
	e.t.Helper()
	if o.code != 0 {
		if testing.Verbose() {
			e.t.Logf("%s", strings.TrimSpace(o.stderr))
		}
		if o.code != 1 || !message.MatchString(o.stderr) || !strings.Contains(o.stderr, cause.Error()) {
			problem("exit code %d: %s", o.code, o.stderr)
		}
		e.ok("prune")
		e.collect()
		if more := e.state().within(e.states[1-v], e.states[v]); len(more) > 0 {
			problem("it leaves\n\t%s", strings.Join(more, "\n\t"))
		}
	}
	e.wantWhole(problem)
	e.ok(e.args(v)...)
	e.ok("prune")
	if diff := e.state().diff(e.states[v]); len(diff) > 0 {
		problem("after it ran again, and prune:\n\t%s", strings.Join(diff, "\n\t"))
		e.heal(v)
	}
}

// TestDeadDisk has one of a daemon's disks refuse everything with an I/O error, from one call of a build on.
func TestDeadDisk(t *testing.T) {
	harness.RequireRoot(t)
	w := newDiskWorld(t, harness.Containerd2, "overlayfs")
	e := w.learn(w.heavy()[0])
	calls := len(e.calls[0])
	step := calls / 3
	if soak() {
		step = 1
	}
	for name, disk := range map[string]*disk{"content": w.content, "snapshots": w.snapshots, "database": w.database} {
		tried, failed := 0, 0
		for n := 1; n <= calls; n += step {
			v := e.turn
			e.turn = 1 - v
			f := fault{name: "dead disk", do: func(context.Context, *strike, *call) error { return disk.shutdown() }}
			s := &strike{fault: f, n: n, world: w.world, proxy: w.proxy, started: make(chan struct{}), ended: make(chan struct{})}
			w.proxy.arm(s)
			o := e.run(s, e.args(v)...)
			w.proxy.arm(nil)
			w.replace(disk)
			w.removeNameless()
			tried++
			if o.code != 0 {
				failed++
			}
			e.recovers(v, o, unix.EIO, func(format string, args ...any) {
				t.Errorf("%s, dead from call %d (%s): "+format, append([]any{name, n, s.method}, args...)...)
			})
		}
		t.Logf("faults: dead disk, %s: %d calls tried, %d of them failed", name, tried, failed)
	}
}

// shutdown has the file system refuse everything (EXT4_IOC_SHUTDOWN). What was written before
// is on the disk.
func (d *disk) shutdown() error {
	const ext4Shutdown, flush = 0x8004587d, 0
	dir, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer dir.Close() // only read
	return unix.IoctlSetPointerInt(int(dir.Fd()), ext4Shutdown, flush)
}

// removeNameless has prune remove what is half written: what the daemon lists, and what it has forgotten since it could
// not begin or remove it, once that is old enough that nobody is about to name it. What has a name the daemon removes
// itself, when it looks at its content after some of it was deleted.
func (w diskWorld) removeNameless() {
	w.t.Helper()
	w.ok("prune")
	dirs, err := filepath.Glob(filepath.Join(w.content.dir, "ingest", "*"))
	must(w.t, err)
	if len(dirs) == 0 {
		return
	}
	past := time.Now().Add(-time.Hour)
	for _, dir := range dirs {
		must(w.t, os.Chtimes(dir, past, past))
	}
	w.ok("prune")
	blob := []byte("deleted at once")
	desc := ocispec.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	must(w.t, cstore.WriteBlob(w.ctx, w.client.ContentStore(), "deleted", bytes.NewReader(blob), desc))
	must(w.t, w.client.ContentStore().Delete(w.ctx, desc.Digest))
	w.collect()
}

// replace puts a new device with what is on the dead disk in its place, and starts the daemon on that. The old one is
// dead for as long as any mount namespace holds it.
func (w diskWorld) replace(dead *disk) {
	w.t.Helper()
	must(w.t, unix.Kill(peer(w.t, w.daemon.Address()), unix.SIGKILL))
	all := []*disk{w.database, w.content, w.snapshots}
	for _, d := range slices.Backward(all) {
		d.unmount()
	}
	dead.dev = attach(w.t, dead.file)
	for _, d := range all {
		d.unmount = d.mount(d.dev, d.dir)
	}
	w.restart()
}

// restart starts the daemon on the disks that are mounted. It ends before they are unmounted.
func (w diskWorld) restart() {
	w.t.Helper()
	w.t.Cleanup(func() { must(w.t, w.daemon.Stop()) })
	must(w.t, w.daemon.Restart(w.t.Context()))
}
