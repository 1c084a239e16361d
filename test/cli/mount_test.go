package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// mountedImage is what is read of veneer mount --format json.
type mountedImage struct {
	Image, Dir, State, Upper string
	Writable                 bool
}

func (b *bench) mounts() []mountedImage {
	b.t.Helper()
	return decode[[]mountedImage](b.t, b.ok("mount", "--format", "json"))
}

// mountBench has the images base, of one layer, and two, of two.
func mountBench(t *testing.T, b *bench) *bench {
	t.Helper()
	harness.RequireRoot(t)
	// Others may write to /tmp, but not replace what is root's in it.
	b.withBase()
	b.write("new", "new")
	b.ok(quiet("build", "--from", "base", "--copy", "new:/app/new", "-t", "two")...)
	undo := exec.CommandContext(context.WithoutCancel(t.Context()), program, "unmount", "--force", "--below", b.dir)
	undo.Env = b.command().Env
	t.Cleanup(func() {
		if out, err := undo.CombinedOutput(); err != nil {
			t.Errorf("unmount all: %v\n%s", err, out)
		}
	})
	return b
}

func eachEngine(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Run("embedded", func(t *testing.T) { test(t, mountBench(t, newBench(t))) })
	t.Run("containerd", func(t *testing.T) {
		d := harness.Start(t, harness.Containerd2)
		harness.LeakCheck(t, d.Client(t), "overlayfs")
		test(t, mountBench(t, newBench(t).onDaemon(d)))
	})
}

// An image's files are mounted, can be run and not changed, and stay while they are mounted, whatever becomes of the name.
func TestMount(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *bench) {
		at := func(name string) string { return filepath.Join(b.dir, name) }
		for name, image := range map[string]string{"ro1": "base", "ro2": "two", "rw": "two"} {
			args := []string{"mount", image, name}
			if name == "rw" {
				args = append(args, "--rw")
			}
			if out := b.ok(quiet(args...)...); out != at(name)+"\n" {
				t.Errorf("mount prints %q", out)
			}
		}
		b.ok(quiet("mount", "two", "kept", "--upper", "upper")...)
		if list := b.mounts(); len(list) != 4 || list[0].Dir != at("kept") || list[0].State != "mounted" || !list[0].Writable || list[1].Writable {
			t.Errorf("mounts %+v", list)
		}
		b.mountFlags(at)
		b.fails(1, []string{"mounted there already"}, quiet("mount", "base", "ro1")...)
		b.fails(1, []string{"in use", at("kept")}, quiet("mount", "two", "more", "--upper", "upper")...)

		// Whoever uses it keeps it.
		f, err := os.Open(at("ro1/app/old"))
		harness.Check(t, err)
		b.fails(1, []string{"in use", "fuser -vm"}, quiet("unmount", "ro1")...)
		harness.Check(t, f.Close())
		b.servedFrom(at("ro2"))

		// The name goes, and the files do not.
		for _, image := range []string{"base", "two"} {
			b.fails(1, []string{"it is mounted on", "veneer unmount", "--force"}, quiet("rmi", image)...)
		}
		b.ok(quiet("rmi", "--force", "base")...)
		b.ok(quiet("prune")...)
		if data, err := os.ReadFile(at("ro1/app/old")); err != nil || string(data) != "old" {
			t.Errorf("after rmi and prune: %q, %v", data, err)
		}

		b.ok(quiet("umount", "ro1", "ro2", "rw", "kept")...)
		for _, name := range []string{"ro1", "ro2", "rw", "kept"} {
			if _, err := os.Lstat(at(name)); !os.IsNotExist(err) {
				t.Errorf("%s, which was made for it, is still there: %v", name, err)
			}
		}
		b.fails(1, []string{"no image is mounted there", "veneer mount lists"}, quiet("unmount", "ro1")...)
		b.ok(quiet("unmount", "--if-mounted", "ro1")...)

		// Only what was to be kept is.
		b.ok(quiet("mount", "two", "rw", "--rw")...)
		b.ok(quiet("mount", "two", "kept", "--upper", "upper")...)
		for name, want := range map[string]bool{"rw": false, "kept": true} {
			if _, err := os.Stat(at(name + "/written")); (err == nil) != want {
				t.Errorf("what was written to %s: %v", name, err)
			}
		}
		b.ok(quiet("unmount", "--below", ".")...)
		if list := b.mounts(); len(list) != 0 {
			t.Errorf("left %+v", list)
		}
		b.ok(quiet("rmi", "two")...)
	})
}

// mountFlags looks at what can be done in the mounts.
func (b *bench) mountFlags(at func(string) string) {
	b.t.Helper()
	for name, readOnly := range map[string]bool{"ro1": true, "ro2": true, "rw": false, "kept": false} {
		var st unix.Statfs_t
		harness.Check(b.t, unix.Statfs(at(name), &st))
		const want = unix.ST_NOSUID | unix.ST_NODEV
		if got := st.Flags & (want | unix.ST_NOEXEC | unix.ST_RDONLY); got&^unix.ST_RDONLY != want || (got&unix.ST_RDONLY != 0) != readOnly {
			b.t.Errorf("%s has mount flags %#x", name, st.Flags)
		}
		err := os.WriteFile(at(name+"/written"), []byte(name), 0o600)
		if (err != nil) != readOnly {
			b.t.Errorf("write to %s: %v", name, err)
		}
		if data, err := os.ReadFile(at(name + "/app/old")); err != nil || string(data) != "old" {
			b.t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

// servedFrom tries to unmount what is the root directory of a process in another mount namespace, as of a service with
// RootDirectory=: the kernel alone would let it go.
func (b *bench) servedFrom(dir string) {
	b.t.Helper()
	sh := exec.CommandContext(b.t.Context(), "unshare", "--mount", "--propagation", "private", "sh", "-c",
		`mount --bind "$1" "$1" && cd "$1" && exec sleep 100`, "sh", dir)
	harness.Check(b.t, sh.Start())
	defer func() {
		_ = sh.Process.Kill()
		_ = sh.Wait() // it was killed
	}()
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", sh.Process.Pid)); err == nil && string(comm) == "sleep\n" {
			break
		}
	}
	b.fails(1, []string{"in use by process", "(sleep)"}, quiet("unmount", dir)...)
}

// Where others could lead the directory elsewhere, nothing is mounted; nor where something would be hidden.
func TestMountPlaces(t *testing.T) {
	b := mountBench(t, newBench(t))
	harness.Check(t, os.MkdirAll(filepath.Join(b.dir, "theirs", "sub"), 0o755))
	harness.Check(t, os.Chown(filepath.Join(b.dir, "theirs"), harness.UnprivilegedID, harness.UnprivilegedID))
	harness.Check(t, os.Mkdir(filepath.Join(b.dir, "open"), 0o755))
	harness.Check(t, os.Symlink(b.dir+"/real", filepath.Join(b.dir, "link")))
	harness.Check(t, os.Mkdir(filepath.Join(b.dir, "real"), 0o755))
	b.write("full/file", "x")
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"base", "theirs"}, []string{"theirs belongs to user", "/srv"}},
		{[]string{"base", "theirs/sub"}, []string{"theirs belongs to user"}},
		{[]string{"base", "theirs/new"}, []string{"theirs belongs to user"}},
		{[]string{"base", "full"}, []string{"not empty"}},
		{[]string{"base", "full/file"}, []string{"not a directory"}},
		{[]string{"base", "/"}, []string{"mounted there already"}},
		{[]string{"absent", "m"}, []string{"no image", "veneer pull"}},
		{[]string{"base", "m", "--upper", "theirs/sub"}, []string{"theirs belongs to user", "chmod 700"}},
		{[]string{"base", "m", "--upper", "open"}, []string{"others may enter it", "chmod 700"}},
	} {
		b.fails(1, c.words, quiet(append([]string{"mount"}, c.args...)...)...)
	}
	b.fails(2, []string{"want 2 arguments"}, "mount", "base")
	if out := b.ok(quiet("mount", "base", "link")...); out != b.dir+"/real\n" {
		t.Errorf("a link leads to %q", out)
	}
	b.ok(quiet("unmount", "link")...)
	for _, name := range []string{"m", "theirs/new"} {
		if _, err := os.Lstat(filepath.Join(b.dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s was made in vain: %v", name, err)
		}
	}
	u := newUserBench(t).withBase()
	u.fails(1, []string{"only root", "sudo"}, quiet("mount", "base", "m")...)
}

// A mount or an unmount that is killed at any time leaves a mount as a whole or none, the list tells which, and prune clears
// all that is not mounted.
func TestMountKilled(t *testing.T) {
	b := mountBench(t, newBench(t))
	began := time.Now()
	b.ok(quiet("mount", "two", "m", "--rw")...)
	took := time.Since(began)
	b.ok(quiet("unmount", "m")...)
	rounds := 12
	if os.Getenv("VENEER_SOAK") != "" {
		rounds = 300
	}
	for i := range rounds {
		args := []string{"mount", "two", "m", "--rw"}
		if i%2 == 1 {
			args = []string{"unmount", "--if-mounted", "m"}
		}
		cmd := b.command(quiet(args...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		harness.Check(t, cmd.Start())
		time.Sleep(took * time.Duration(rand.IntN(1000)) / 1000)
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait() // it was killed, or had ended
		data, err := os.ReadFile(filepath.Join(b.dir, "m/app/new"))
		mounted := err == nil && string(data) == "new"
		list := b.mounts()
		if mounted != (len(list) > 0 && strings.HasSuffix(list[len(list)-1].State, "mounted") || len(list) > 1 && list[0].State == "mounted") {
			t.Fatalf("round %d, %q: mounted %t, and the list says %+v", i, args, mounted, list)
		}
		b.ok(quiet("prune")...)
		left := b.mounts()
		if !mounted && len(left) == 1 && left[0].State == "unknown" && mountsAreHidden() {
			b.ok(quiet("unmount", "--force", "m")...)
			left = b.mounts()
		}
		if len(left) > 1 || len(left) == 1 != mounted {
			t.Fatalf("round %d: after prune there is %+v, mounted %t", i, left, mounted)
		}
	}
	b.ok(quiet("unmount", "--if-mounted", "m")...)
	b.ok(quiet("prune")...)
	b.nothingInUse()
}

// mountsAreHidden reports whether not even root may see the mounts of the first process, as on machines that an agent
// runs. It may have what was mounted, so prune leaves that.
func mountsAreHidden() bool {
	_, err := os.Readlink("/proc/1/ns/mnt")
	return errors.Is(err, fs.ErrPermission)
}

// On other daemons and snapshotters a mount shows the same, or the error says what works instead, and nothing is left.
func TestMountSnapshotters(t *testing.T) {
	harness.RequireRoot(t)
	type place struct {
		kind        harness.DaemonKind
		snapshotter string
		settings    func(*testing.T) harness.Settings
		// refused are the ways that are refused; soak: it is tried by `make soak` alone.
		refused []string
		soak    bool
	}
	for _, p := range []place{
		{kind: harness.Containerd2, snapshotter: "native", soak: true},
		{kind: harness.Containerd2, snapshotter: "fuse-overlayfs", settings: harness.FuseOverlayfs, refused: []string{"kept"}},
		{kind: harness.Containerd2, snapshotter: "erofs", settings: onErofs, refused: []string{"read", "written", "kept"}, soak: true},
		{kind: harness.Containerd17, snapshotter: "overlayfs"},
		{kind: harness.Containerd17, snapshotter: "native", soak: true},
		{kind: harness.Containerd16, snapshotter: "overlayfs", soak: true},
		{kind: harness.Containerd16, snapshotter: "native"},
	} {
		t.Run(string(p.kind)+"/"+p.snapshotter, func(t *testing.T) {
			if p.soak && os.Getenv("VENEER_SOAK") != "1" {
				t.Skip("it is tried by `make soak`")
			}
			var settings harness.Settings
			if p.settings != nil {
				settings = p.settings(t)
			}
			d := harness.StartWith(t, p.kind, settings)
			harness.LeakCheck(t, d.Client(t), p.snapshotter)
			b := newBench(t).onDaemon(d)
			b.env = append(b.env, "CONTAINERD_SNAPSHOTTER="+p.snapshotter)
			mountsOn(mountBench(t, b), p.refused)
		})
	}
}

// mountsOn mounts an image in each way.
func mountsOn(b *bench, refused []string) {
	b.t.Helper()
	for name, flags := range map[string][]string{"read": nil, "written": {"--rw"}, "kept": {"--upper", "upper"}} {
		args := quiet(append([]string{"mount", "two", name}, flags...)...)
		if slices.Contains(refused, name) {
			b.fails(1, []string{"mount docker.io/library/two", "--snapshotter", "veneer export"}, args...)
			continue
		}
		b.ok(args...)
		dir := filepath.Join(b.dir, name)
		old, fresh := readText(filepath.Join(dir, "app/old")), readText(filepath.Join(dir, "app/new"))
		err := os.WriteFile(filepath.Join(dir, "app/more"), []byte("more"), 0o600)
		if old == "" || fresh != "new" || (err == nil) == (name == "read") {
			b.t.Errorf("%s: %q, %q; written: %v", name, old, fresh, err)
		}
		b.ok(quiet("unmount", name)...)
	}
	for name, want := range map[string]string{"again": "", "kept": "more"} {
		if slices.Contains(refused, name) || len(refused) == 3 {
			continue
		}
		flags := map[string][]string{"again": {"--rw"}, "kept": {"--upper", "upper"}}[name]
		b.ok(quiet(append([]string{"mount", "two", name}, flags...)...)...)
		if got := readText(filepath.Join(b.dir, name, "app/more")); got != want {
			b.t.Errorf("%s has %q of the mount before, want %q", name, got, want)
		}
		b.ok(quiet("unmount", name)...)
	}
	if list := b.mounts(); len(list) > 0 {
		b.t.Errorf("left %+v", list)
	}
}

func onErofs(t *testing.T) harness.Settings {
	harness.Check(t, harness.KernelKnows("erofs"))
	harness.Check(t, harness.Installed("mkfs.erofs", "erofs-utils"))
	return harness.Settings{Enable: []string{"io.containerd.snapshotter.v1.erofs"}}
}
