package enginetest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// Root skips the test, or fails it in CI, unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	harness.RequireRoot(t)
}

// Daemon starts Debian's containerd, privately, and returns its socket. It is
// stopped when the test ends. Without root or containerd the test is skipped,
// or fails in CI.
func Daemon(t testing.TB) string {
	t.Helper()
	return harness.Start(t, harness.Containerd16).Address()
}

// AsNobody runs the test that calls it again, in a process of a user who owns
// nothing but a temporary directory, and has no capabilities. env is given that
// directory, prepares what is needed there, and returns the environment
// variable by which the second run knows what it is.
func AsNobody(t *testing.T, env func(dir string) string) {
	t.Helper()
	Root(t)
	const nobody = 65534
	// Other users cannot reach the test binary where the go command puts it.
	dir, err := os.MkdirTemp("", "veneer-test-") //nolint:usetesting // which other users cannot enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	bin := filepath.Join(dir, "test")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{env(dir), "HOME=" + dir, "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
}

// Open opens an engine and closes it when the test ends. The context has its
// namespace.
func Open(t testing.TB, o engine.Options) (*engine.Engine, context.Context) {
	t.Helper()
	e, err := engine.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, e.Context(t.Context())
}

// Embedded opens an embedded engine in a directory of the test.
func Embedded(t testing.TB, snapshotter string) (*engine.Engine, context.Context) {
	t.Helper()
	return Open(t, engine.Options{Mode: engine.Embedded, Root: filepath.Join(t.TempDir(), "root"), Snapshotter: snapshotter})
}

// Each runs a test on every engine and snapshotter that this host has: the
// embedded one, and a private daemon, with overlayfs and native each.
func Each(t *testing.T, fn func(t *testing.T, ctx context.Context, e *engine.Engine)) {
	Root(t)
	for _, snapshotter := range []string{"overlayfs", "native"} {
		t.Run("embedded-"+snapshotter, func(t *testing.T) {
			e, ctx := Embedded(t, snapshotter)
			if err := e.Unpacks(); err != nil {
				t.Skip(err)
			}
			fn(t, ctx, e)
		})
	}
	t.Run("daemon", func(t *testing.T) {
		socket := Daemon(t)
		for _, snapshotter := range []string{"overlayfs", "native"} {
			t.Run(snapshotter, func(t *testing.T) {
				e, ctx := Open(t, engine.Options{Mode: engine.Containerd, Address: socket, Snapshotter: snapshotter})
				fn(t, ctx, e)
			})
		}
	})
}
