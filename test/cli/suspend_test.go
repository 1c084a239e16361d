package cli_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// jobs is a shell that knows jobs, as those that people type into. Once its job has
// stopped, it lets that go on in the background and in the foreground, at a line each.
const jobs = `set -m
"$0" "$@"; echo "stopped with $?"
read line; bg >/dev/null; echo in the background
read line; fg >/dev/null; echo "over with $?"`

// inShell has the program run as a job of such a shell.
func inShell(cmd *exec.Cmd) *exec.Cmd {
	at := slices.Index(cmd.Args, program)
	cmd.Args = slices.Insert(cmd.Args, at, "sh", "-c", jobs)
	if at == 0 {
		cmd.Path = "/bin/sh"
	}
	return cmd
}

// TestStopOnATerminal: Control-Z leaves the terminal in order and stops the process.
// In the background nothing is drawn, and in the foreground the lines are there anew.
func TestStopOnATerminal(t *testing.T) {
	b := newBench(t).withBase()
	b.write("app/large", strings.Repeat("veneer\n", 1<<18))
	b.ok("build", "--from", "base", "--copy", "app/:/app", "--compression", "none", "-t", "app:1")
	fifo := filepath.Join(b.dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	b.env = []string{"TERM=xterm"}
	x := harness.OpenTerminal(t, 80, 24)
	cmd := inShell(b.command("save", "app:1", "-o", "fifo"))
	wait := b.run(x, cmd)
	reader, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close() // only read
	x.WaitFor("%,")
	before := x.State()
	x.Type("\x1a")
	x.WaitFor("stopped with 148") // 128 and SIGTSTP
	if screen := x.Screen(); strings.Contains(screen, "%,") {
		t.Errorf("stopped:\n%s", screen)
	}
	if x.State() != before {
		t.Error("the terminal is in another state")
	}
	x.Type("\n")
	x.WaitFor("in the background")
	x.Type("\n")
	x.WaitFor("%,")
	if screen := x.Screen(); strings.Count(screen, "%,") != 1 || strings.Count(screen, "stopped") != 1 {
		t.Errorf("in the foreground again:\n%s", screen)
	}
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Error(err)
	}
	if code := wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	x.Close()
	screenIs(t, "stopped.txt", x.Screen())
}

// TestStopByOrdinaryUser: the process in the user namespace, which the terminal knows
// nothing of, stops with the one that made it, and goes on with it.
func TestStopByOrdinaryUser(t *testing.T) {
	r := newRootless(t)
	harness.BusyboxImage(t, filepath.Join(r.dir, "busybox.tar"), "docker.io/library/busybox:1")
	if err := os.Chmod(filepath.Join(r.dir, "busybox.tar"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.ok("load", "busybox.tar")
	r.write("app/Dockerfile", "FROM docker.io/library/busybox:1\nRUN echo begun; sleep 1000\n")
	r.env = append(r.env, "TERM=xterm")
	x := harness.OpenTerminal(t, 80, 24)
	wait := r.run(x, inShell(r.command("build", "--network", "none", "app")))
	x.WaitFor("  begun")
	x.Type("\x1a")
	x.WaitFor("stopped with 148")
	if screen := x.Screen(); strings.Contains(screen, "  begun") {
		t.Errorf("stopped:\n%s", screen)
	}
	x.Type("\n")
	x.WaitFor("in the background")
	x.Type("\n")
	x.WaitFor("  begun")
	x.Type("\x03")
	x.WaitFor("over with 130")
	if code := wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	x.Close()
}
