package cli_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/client"

	"github.com/veneer-build/veneer/test/harness"
)

// onDaemon makes the bench's commands use the daemon.
func (b *bench) onDaemon(d *harness.Daemon) *bench {
	b.env = []string{"VENEER_ENGINE=containerd", "CONTAINERD_ADDRESS=" + d.Address()}
	return b
}

// Who may not use the socket is told so, and what to do; auto goes on without it, unless it was named.
func TestNoPermissionOnTheSocket(t *testing.T) {
	d := harness.Start(t, harness.Containerd2)
	harness.LeakCheck(t, d.Client(t), "overlayfs")
	for _, dir := range []os.FileMode{0o755, 0o700} { // the socket is closed to others, or its directory
		if err := os.Chmod(filepath.Dir(d.Address()), dir); err != nil {
			t.Fatal(err)
		}
		b := newUserBench(t).onDaemon(d)
		b.write("file", "data")
		b.fails(1, []string{"no permission", d.Address(), "run as root", "--engine=embedded"}, "build", "--from", "scratch", "--copy", "file:/file", "-t", "new")
		b.env[0] = "VENEER_ENGINE=auto"
		b.fails(1, []string{"no permission", d.Address(), "not taken in its place", "--address"}, "build", "--from", "scratch", "--copy", "file:/file", "-t", "new")
		o := b.atDefaultSocket(d, b.root, "build", "--from", "scratch", "--copy", "file:/file", "-t", "new")
		if o.code != 0 || !strings.Contains(o.stderr, "using the embedded engine at "+b.root) || !strings.Contains(o.stderr, "no permission") {
			t.Errorf("auto: %+v", o)
		}
		// The reason is said as well where the embedded engine is none of theirs.
		o = b.atDefaultSocket(d, "/veneer", "images")
		b.failed(o, 1, []string{"no permission for the socket", "run as root", "/veneer", "--root"}, "images")
	}
}

// atDefaultSocket runs the program as an ordinary user in a mount namespace where the daemon has the default address.
func (b *bench) atDefaultSocket(d *harness.Daemon, root string, args ...string) outcome {
	b.t.Helper()
	const script = `exec 3<"$1"; shift
		mount -t tmpfs none /run && mkdir /run/containerd && mount --bind /proc/self/fd/3 /run/containerd && exec "$@" 3<&-`
	cmd := b.command(args...)
	cmd.Args = append([]string{"unshare", "--mount", "sh", "-c", script, "sh", filepath.Dir(d.Address()), cmd.Path}, cmd.Args[1:]...)
	cmd.Env = append(cmd.Env, "VENEER_ENGINE=auto", "CONTAINERD_ADDRESS=", "VENEER_ROOT="+root)
	path, err := exec.LookPath("unshare")
	if err != nil {
		b.t.Skipf("SKIP: %v", err)
	}
	cmd.Path = path
	return finish(b.t, cmd)
}

func TestNoDaemon(t *testing.T) {
	b := newBench(t)
	b.env = []string{"VENEER_ENGINE=containerd", "CONTAINERD_ADDRESS=" + filepath.Join(b.dir, "none.sock")}
	b.fails(1, []string{"no containerd at", "none.sock", "--address", "--engine=embedded"}, "images")
	b.socket("dead.sock")
	b.env[1] = "CONTAINERD_ADDRESS=" + filepath.Join(b.dir, "dead.sock")
	b.fails(1, []string{"dead.sock", "--address", "--engine=embedded"}, "images")
}

// A snapshotter that containerd reaches over a socket, and that is dead, is told from a dead containerd.
func TestDeadProxySnapshotter(t *testing.T) {
	d := harness.StartWith(t, harness.Containerd2, harness.Settings{Config: "[proxy_plugins.gone]\n  type = \"snapshot\"\n  address = \"/run/veneer-test-none.sock\"\n"})
	b := newBench(t).onDaemon(d)
	b.write("file", "data")
	b.fails(1, []string{"its snapshotter gone", "--snapshotter"}, quiet("--snapshotter", "gone", "build", "--from", "scratch", "--copy", "file:/file", "-t", "new")...)
	b.ok("build", "--from", "scratch", "--copy", "file:/file", "-t", "new")
	if o := b.try("--snapshotter", "gone", "images"); o.code != 0 {
		t.Errorf("images: %s", o.stderr)
	}
}

// Labels that others have put on a record stay when its name goes to another
// image.
func TestForeignLabelsSurvive(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			c := d.Client(t)
			b := newBench(t).onDaemon(d).withBase()
			b.write("file", "data")
			b.ok("build", "--from", "base", "--copy", "file:/file", "-t", "new")
			label := func() {
				store := c.ImageService()
				img, err := store.Get(t.Context(), "docker.io/library/new:latest")
				if err != nil {
					t.Fatal(err)
				}
				img.Labels = map[string]string{"io.cri-containerd.image": "managed", "org.example/keep": "1"}
				if _, err := store.Update(t.Context(), img, "labels"); err != nil {
					t.Fatal(err)
				}
			}
			label()
			want := labels(t, c, "new")
			b.write("file", "other")
			b.ok("build", "--from", "base", "--copy", "file:/file", "-t", "new")
			if got := labels(t, c, "new"); !maps.Equal(got, want) {
				t.Errorf("after a build: labels %v, want %v", got, want)
			}
			b.ok("tag", "base", "new")
			if got := labels(t, c, "new"); !maps.Equal(got, want) {
				t.Errorf("after a tag: labels %v, want %v", got, want)
			}
		})
	}
}

func labels(t *testing.T, c *client.Client, name string) map[string]string {
	t.Helper()
	img, err := c.ImageService().Get(t.Context(), "docker.io/library/"+name+":latest")
	if err != nil {
		t.Fatal(err)
	}
	return img.Labels
}

// A signal in any step leaves nothing in a daemon either.
func TestSignalsOnDaemons(t *testing.T) {
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			b := newBench(t).onDaemon(d).withBase()
			b.big("big", 60, 2<<20)
			before, err := harness.TakeInventory(t.Context(), d.Client(t), "overlayfs")
			if err != nil {
				t.Fatal(err)
			}
			blobs := blobsOf(t, d)
			build := []string{"--progress", "plain", "build", "--no-cache", "--from", "base", "--copy", "big/:/big", "-t", "new"}
			for _, after := range []string{"resolve:", "compare:", "layer:"} {
				for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
					if o, _ := b.signalAfter(after, sig, build); o.code != code {
						t.Errorf("%v after %s: exit code %d: %s", sig, after, o.code, o.stderr)
					}
					if err := before.Leaks(context.WithoutCancel(t.Context())); err != nil {
						t.Errorf("%v after %s: %v", sig, after, err)
					}
					if now := blobsOf(t, d); now != blobs {
						t.Errorf("%v after %s: %s, before %s", sig, after, now, blobs)
					}
				}
			}
			b.ok(build...)
		})
	}
}

// blobsOf counts what is in a daemon's content store, on disk.
func blobsOf(t *testing.T, d *harness.Daemon) string {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(d.Root(), "io.containerd.content.v1.content", "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d blobs", len(blobs))
}
