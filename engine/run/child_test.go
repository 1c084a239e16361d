package run_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/engine/enginetest"
	"github.com/veneer-build/veneer/engine/run"
	"github.com/veneer-build/veneer/test/harness"
)

// The environment of TestChild.
const (
	childScript = "VENEER_RUN_SCRIPT" // a shell's; without it the test is none
	childRoot   = "VENEER_RUN_ROOT"
	childSocket = "VENEER_RUN_SOCKET" // of a daemon; empty: the embedded engine
	childLower  = "VENEER_RUN_LOWER"
	childImage  = "VENEER_RUN_IMAGE" // a directory with upper and work
)

// TestChild is the process that other tests start to be killed, or to be elsewhere.
func TestChild(t *testing.T) {
	script := os.Getenv(childScript)
	if script == "" {
		t.Skip("SKIP: it is a part of other tests")
	}
	o := engine.Options{Mode: engine.Embedded, Root: os.Getenv(childRoot)}
	if socket := os.Getenv(childSocket); socket != "" {
		o.Mode, o.Address = engine.Containerd, socket
	}
	e, _ := enginetest.Open(t, o)
	f := open(t, e, os.Getenv(childLower), run.Options{})
	i := overlay(t, os.Getenv(childImage), f.lower)
	err := f.runner.Run(f.ctx, i.mounts, run.Process{
		Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "MARKER=" + os.Getenv(childImage)}, Stdout: os.Stdout, Stderr: os.Stderr,
		Mounts: []run.Mount{{Target: "/m", Source: bind(os.Getenv(childLower)), Subpath: "usr", ReadOnly: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func child(t *testing.T, script, root, socket, lower string) (*exec.Cmd, string) {
	t.Helper()
	dir := t.TempDir()
	// A test's time runs out in it before it does here.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestChild$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), childScript+"="+script, childRoot+"="+root, childSocket+"="+socket, childLower+"="+lower, childImage+"="+dir, "TMPDIR="+t.TempDir())
	return cmd, dir
}

// TestCgroup2 runs a process where the hierarchy of cgroup v2 is the one that is
// mounted. On a host of v1 it has no controllers, so limits and the kernel's reports
// of lack of memory are not tested by it.
func TestCgroup2(t *testing.T) {
	lower := debian(t)
	root := filepath.Join(t.TempDir(), "root")
	cmd, dir := child(t, "cat /proc/self/cgroup; ls -d /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x 2>&1; echo ran >/made", root, "", lower)
	const script = `mount --make-rprivate / && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"`
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args = append([]string{"sh", "-c", script, "sh", self}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "0::/\n") || !strings.Contains(string(out), "Read-only") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "upper/made")); err != nil {
		t.Error(err)
	}
}

// TestKilled kills the process that runs others, as kill -9 does.
func TestKilled(t *testing.T) {
	lower := debian(t)
	t.Run("embedded", func(t *testing.T) {
		root := filepath.Join(t.TempDir(), "root")
		killed(t, lower, engine.Options{Mode: engine.Embedded, Root: root}, 0)
	})
	t.Run("embedded-private", func(t *testing.T) {
		root := filepath.Join(t.TempDir(), "root")
		killed(t, lower, engine.Options{Mode: engine.Embedded, Root: root}, unix.CLONE_NEWNS)
	})
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			o := engine.Options{Mode: engine.Containerd, Address: d.Address(), Root: filepath.Join(t.TempDir(), "root")}
			killed(t, lower, o, 0)
			killed(t, lower, o, unix.CLONE_NEWNS)
		})
	}
}

// endsWithIt waits for the end of the processes that have a variable: the kernel
// ends them after the one that ran them, without anybody's doing.
func endsWithIt(t *testing.T, variable string) {
	t.Helper()
	for range 100 {
		if len(withEnv(t, variable)) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("they run on: %v", withEnv(t, variable))
}

func killed(t *testing.T, lower string, o engine.Options, namespaces uintptr) {
	cmd, dir := child(t, "echo begun; sleep 1000 & sleep 1000", o.Root, o.Address, lower)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: namespaces}
	began := &started{tell: make(chan struct{}), prefix: "begun"}
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = began, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-began.tell:
	case <-time.After(time.Minute):
		t.Errorf("it does not begin: %s\n%s", began.text, errs.String())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.WaitDelay = time.Second // What runs on has its output.
	_ = cmd.Wait()
	if o.Mode == engine.Embedded {
		endsWithIt(t, "MARKER="+dir)
	}

	e, ctx := enginetest.Open(t, o)
	f := open(t, e, lower, run.Options{})
	left, err := f.runner.Left(ctx)
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	// What runs now is not swept.
	live, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	other := &started{tell: make(chan struct{})}
	go func() {
		ended <- f.runner.Run(live, f.image(t, nil).mounts, run.Process{Args: []string{"/bin/sh", "-c", "echo; sleep 1000"}, Env: []string{"PATH=/bin"}, Stdout: other})
	}()
	select {
	case <-other.tell:
	case err := <-ended:
		t.Fatal(err)
	}
	swept, err := f.runner.Sweep(ctx)
	if err != nil || strings.Join(swept, " ") != strings.Join(left, " ") {
		t.Errorf("swept: %v, %v", swept, err)
	}
	select {
	case err := <-ended:
		t.Errorf("what ran was swept: %v", err)
	default:
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if found := withEnv(t, "MARKER="+dir); len(found) > 0 {
		t.Errorf("still there: %v", found)
	}
	f.nothingLeft(t)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestPrivateMounts runs processes by a daemon that does not see this process's
// mounts, as veneer's are (snapshot.PrivateMounts).
func TestPrivateMounts(t *testing.T) {
	lower := debian(t)
	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			d := harness.Start(t, kind)
			root := filepath.Join(t.TempDir(), "root")
			cmd, dir := child(t, "ls -d /m/bin; cat /etc/hosts; echo it ran >/made", root, d.Address(), lower)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
			if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("/m/bin\n127.0.0.1")) {
				t.Errorf("%v\n%s", err, out)
			}
			if data, err := os.ReadFile(filepath.Join(dir, "upper/made")); err != nil || string(data) != "it ran\n" {
				t.Errorf("%v, %q", err, data)
			}
		})
	}
}
