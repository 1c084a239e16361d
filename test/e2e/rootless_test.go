package e2e

import (
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// TestRootless: root of this machine builds through the socket of a rootless daemon, and in the daemon's namespaces. The digests are those of other
// daemons, and every file of its snapshots belongs to a user of the daemon's. Verify says that it cannot read them, finds
// nothing wrong, and repairs nothing.
func TestRootless(t *testing.T) {
	harness.RequireRoot(t)
	src := filepath.Join(t.TempDir(), "src")
	write(t, filepath.Join(src, "a/file"), "of root\n")
	write(t, filepath.Join(src, "b"), "of another\n")
	must(t, os.Lchown(filepath.Join(src, "b"), 1000, 1000))
	exact := func(dest string) []veneer.TargetSpec {
		return []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: dest, Owner: differ.OwnerSource}}
	}
	same := agreement{}
	build := func(t *testing.T, p *place) {
		base := p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exact("/")}, ImageOptions: veneer.ImageOptions{Tags: []string{"base:1"}}})
		for _, reader := range []veneer.ReaderKind{veneer.ReadAuto, veneer.ReadIndex} {
			res := p.build(t, veneer.BuildRequest{Base: "base:1", TargetOptions: veneer.TargetOptions{Targets: exact("/app")}, ReadOptions: veneer.ReadOptions{Reader: reader, NoCache: true}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:1"}}})
			same.check(t, "digest", res.Digest.String())
		}
		same.check(t, "base", base.Digest.String())
	}
	t.Run("embedded", func(t *testing.T) { build(t, embedded(t)) })
	// One of 1.7 wants a directory in /run, which rootlesskit makes for it.
	d := harness.StartWith(t, harness.Containerd2, harness.Settings{Rootless: true})
	for _, snapshotter := range harness.Snapshotters() {
		t.Run("rootless "+snapshotter, func(t *testing.T) {
			p := newPlace(t, d, snapshotter)
			build(t, p)
			buildInside(t, p, src, same)
			ownedBelow(t, filepath.Join(d.Root(), "io.containerd.snapshotter.v1."+snapshotter, "snapshots"), harness.RootlessID)
			before := p.stored(t)
			res := p.verify(t, veneer.VerifyRequest{Image: "app:1", Repair: true})
			if texts := strings.Join(findingTexts(res), "\n"); res.Errors+res.Warnings+res.Repaired > 0 || !strings.Contains(texts, "another user namespace") {
				t.Errorf("verify says %s", texts)
			}
			if after := p.stored(t); !maps.Equal(after, before) {
				t.Errorf("after verify there is %v, before %v", after, before)
			}
			_, err := veneer.Build(p.ctx, p.engine, veneer.BuildRequest{Base: "base:1", Differ: veneer.DifferService, TargetOptions: veneer.TargetOptions{Targets: exact("/service")}, ReadOptions: veneer.ReadOptions{Reader: veneer.ReadIndex}})
			if err == nil || !strings.Contains(err.Error(), "another user namespace") {
				t.Errorf("by the diff service: %v", err)
			}
		})
	}
}

// buildInside: in the daemon's namespaces Veneer is root as the daemon is. It reads bases in their snapshots, fills the new
// ones, and makes what it makes from outside.
func buildInside(t *testing.T, p *place, src string, same agreement) {
	t.Helper()
	cache := t.TempDir()
	must(t, os.Chown(cache, harness.RootlessID, harness.RootlessID))
	for _, dir := range []string{filepath.Dir(cache), filepath.Dir(filepath.Dir(src))} {
		must(t, os.Chmod(dir, 0o755)) // the daemon's root must get through
	}
	run := func(args ...string) string {
		cmd := cli(t, append([]string{
			"--engine", "containerd", "--address", p.daemon.Address(), "--snapshotter", p.engine.Snapshotter, "--root", cache, "--progress", "quiet",
		}, args...)...)
		enter := []string{"--user", "--mount", "--target", strconv.Itoa(p.daemon.PID()), "--setuid", "0", "--setgid", "0", cmd.Path}
		inside := exec.CommandContext(t.Context(), "nsenter", append(enter, cmd.Args[1:]...)...)
		inside.Env = cmd.Env
		return strings.TrimSpace(output(t, inside))
	}
	same.check(t, "in a new directory", p.build(t, veneer.BuildRequest{
		Base:          "base:1",
		TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/inside"}}},
		ImageOptions:  veneer.ImageOptions{Tags: []string{"outside:1"}},
	}).Digest.String())
	for _, reader := range []string{"auto", "view", "index"} {
		same.check(t, "in a new directory", run("build", "--no-cache", "--reader", reader, "--from", "base:1", "--sync", src+":/inside", "-t", "inside:1"))
		if text := run("verify", "inside:1"); strings.Contains(text, "user namespace") {
			t.Errorf("inside, verify says %s", text)
		}
	}
}

// ownedBelow fails the test for each file that does not belong to a user of a rootless daemon, of whom the first is given.
func ownedBelow(t *testing.T, dir string, first uint32) {
	t.Helper()
	files := 0
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files++
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid < first || st.Gid < first {
			t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
		}
		return nil
	}))
	if files < 8 {
		t.Errorf("%s has just %d files", dir, files)
	}
}

// TestRelayedSocket: a process that passes a daemon's socket on is not taken for the daemon, and so the daemon's
// directories are left to it; the image is built all the same.
func TestRelayedSocket(t *testing.T) {
	p := oneDaemon(t)
	address := filepath.Join(t.TempDir(), "relay.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", address)
	must(t, err)
	var relays sync.WaitGroup
	t.Cleanup(func() { must(t, listener.Close()); relays.Wait() })
	relays.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", p.daemon.Address())
			if err != nil {
				t.Error(err)
				return
			}
			relays.Go(func() { _, _ = io.Copy(to, from); _ = to.Close() })
			relays.Go(func() { _, _ = io.Copy(from, to); _ = from.Close() })
		}
	})
	e, err := engine.Open(t.Context(), engine.Options{Mode: engine.Containerd, Address: address, Root: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, e.Close()) })
	must(t, p.engine.Sees(p.ctx, p.daemon.Root()))
	if err := e.Sees(p.ctx, p.daemon.Root()); err == nil || !strings.Contains(err.Error(), "is not containerd") {
		t.Errorf("it sees the daemon's directories: %v", err)
	}
	relayed := &place{ctx: p.ctx, engine: e, daemon: p.daemon}
	src := t.TempDir()
	write(t, filepath.Join(src, "file"), "relayed\n")
	relayed.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(src)}, ImageOptions: veneer.ImageOptions{Tags: []string{"relayed:1"}}})
	relayed.wantComplete(t, "relayed:1")
}
