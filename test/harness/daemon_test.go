package harness_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// TestDaemons: every kind runs the Debian image on every snapshotter, and is gone afterwards.
func TestDaemons(t *testing.T) {
	image := harness.DebianImage(t)
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			harness.KernelLogClean(t)
			d := harness.Start(t, kind)
			c := d.Client(t)
			version, err := c.Version(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("containerd %s", version.Version)
			d.Import(t, image, harness.Snapshotters()...)
			for _, snapshotter := range harness.Snapshotters() {
				harness.LeakCheck(t, c, snapshotter)
				runDebian(t, d, snapshotter)
			}
		})
	}
}

func runDebian(t *testing.T, d *harness.Daemon, snapshotter string) {
	t.Helper()
	d.Run(t, harness.DebianName, snapshotter, "/bin/true")
	if out := d.Run(t, harness.DebianName, snapshotter, "cat", "/etc/debian_version"); !strings.HasPrefix(out, "12") {
		t.Errorf("debian_version is %q", out)
	}
	_, err := d.TryRun(harness.DebianName, snapshotter, "sh", "-c", "exit 3")
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("exit 3 came back as %v", err)
	}
}

// TestStopCleansUp: a running container, its shim and its mounts go with the daemon, also after a restart.
func TestStopCleansUp(t *testing.T) {
	image := harness.DebianImage(t)
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			d, err := harness.StartDaemon(t.Context(), kind)
			harness.Check(t, err)
			t.Cleanup(func() {
				if err := d.Stop(); err != nil {
					t.Error(err)
				}
			})
			d.Import(t, image, "overlayfs")
			if _, err := d.Ctr("run", "-d", harness.DebianName, "sleeper", "sleep", "600"); err != nil {
				t.Fatal(err)
			}
			if err := d.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if out, err := d.Ctr("tasks", "ls", "-q"); err != nil || strings.TrimSpace(out) != "sleeper" {
				t.Fatalf("after the restart the tasks are %q, %v", out, err)
			}
			address := d.Address()
			if err := d.Stop(); err != nil {
				t.Fatal(err)
			}
			left, err := os.ReadDir(os.TempDir())
			if err != nil || len(left) > 0 {
				t.Errorf("left in TMPDIR: %v, %v", left, err)
			}
			assertNoneMention(t, os.TempDir())
			assertNoneMention(t, filepath.Dir(address))
		})
	}
}

// assertNoneMention fails if a mount or the command line of a process holds the path.
func assertNoneMention(t *testing.T, path string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), path) {
		t.Errorf("a mount of %s is left", path)
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		line, err := os.ReadFile("/proc/" + process.Name() + "/cmdline")
		if err == nil && strings.Contains(string(line), path) {
			t.Errorf("process %s is left: %q", process.Name(), line)
		}
	}
}
