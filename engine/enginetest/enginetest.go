// Package enginetest opens engines for tests: embedded ones in temporary
// directories, and a daemon of this host's containerd that is the test's own.
package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/veneer-build/veneer/engine"
)

// config keeps a daemon to itself: no CRI, which wants the network, and none
// of the sockets and directories that daemons of one host share.
const config = `version = 2
root = %[1]q
state = %[2]q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]
[grpc]
  address = %[3]q
[ttrpc]
  address = %[4]q
[plugins."io.containerd.internal.v1.opt"]
  path = %[5]q
`

// Root skips the test unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// Daemon starts the containerd that is on PATH, privately, and returns its
// socket. It is stopped when the test ends. Without root or containerd the
// test is skipped.
func Daemon(t testing.TB) string {
	t.Helper()
	Root(t)
	bin, err := exec.LookPath("containerd")
	if err != nil {
		t.Skip("needs containerd on PATH")
	}
	dir, err := os.MkdirTemp("", "ctrd-") //nolint:usetesting // whose names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "c.sock")
	file := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(config, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, socket+".ttrpc", filepath.Join(dir, "opt"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "--config", file) //nolint:noctx // it is stopped in Cleanup, after t.Context ended
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The signal comes when the thread ends that forked, and a test may end
		// any thread but one that is taken.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			if b, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("containerd's log, its end:\n%s", b[max(0, len(b)-4000):])
			}
		}
		_ = log.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the daemon's files: %v", err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		e, err := engine.Open(t.Context(), engine.Options{Mode: engine.Containerd, Address: socket})
		if err == nil {
			_ = e.Close()
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatalf("containerd does not start: %v", err)
		}
	}
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
