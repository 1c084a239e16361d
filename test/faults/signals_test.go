package faults_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// storm sends signals that mean nothing to each thread of a process, every millisecond, until it has ended. The number
// of signals comes when the process is known to be gone.
func storm(p *os.Process, ended <-chan struct{}) (sent <-chan int) {
	count := make(chan int, 1)
	go func() {
		n := 0
		defer func() { count <- n }()
		for {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
			threads, _ := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.Pid), "task")) // none: it is ending
			for _, thread := range threads {
				tid, _ := strconv.Atoi(thread.Name()) // The kernel lists nothing else.
				for _, sig := range []unix.Signal{unix.SIGURG, unix.SIGWINCH, unix.SIGCHLD} {
					if unix.Tgkill(p.Pid, tid, sig) == nil {
						n++
					}
				}
			}
		}
	}()
	return count
}

// TestSignalStorm: signals that interrupt calls do no harm.
func TestSignalStorm(t *testing.T) {
	dir, all := places(t)
	forest(t, dir+"/old", "old", 20)
	forest(t, dir+"/new", "new", 20)
	noise(t, dir+"/new/big", 8<<20)
	for _, p := range all {
		p.ok(t, "build", "--from", "scratch", "--copy", "old:/tree", "-t", "old")
		for _, extra := range [][]string{{"--reader", "index"}, {"--reader", "view"}, {"--differ", "service"}} {
			args := append([]string{"build", "--no-cache", "--from", "old", "--sync", "new:/tree", "-t", "new"}, extra...)
			p.ok(t, args...)
			want := p.digest(t, "new:latest")
			p.ok(t, "rmi", "new")
			p.ok(t, "prune")
			ended := make(chan struct{})
			var sent <-chan int
			o := finish(t, p.command(args...), func(process *os.Process) { sent = storm(process, ended) })
			close(ended)
			if got := p.digest(t, "new:latest"); o.code != 0 || got != want {
				t.Errorf("%s: %q in a storm of signals: exit code %d, %s in place of %s: %s", p.name, args, o.code, got, want, o.stderr)
			}
			n := <-sent
			if n < 100 {
				t.Errorf("%s: %q: just %d signals came", p.name, args, n)
			}
			t.Logf("faults: a storm of signals, %s, %q: %d signals", p.name, extra, n)
		}
	}
}

// TestInterruptedCalls has every second call that reads, writes or opens be interrupted before it has done anything:
// each is made again, and the image is the same.
func TestInterruptedCalls(t *testing.T) {
	harness.Check(t, canReplace())
	f := newFilled(t)
	p := place{name: "embedded", command: f.command}
	for _, extra := range [][]string{{"--reader", "index"}, {"--reader", "view"}} {
		args := append(append([]string{}, f.args...), extra...)
		f.ok(args...)
		want := p.digest(t, "app:v")
		f.again()
		calls, interrupted := map[string]int{}, 0
		status, stderr := judged(t, f.command(args...), func(c sysCall) verdict {
			switch {
			case !strings.HasPrefix(c.path, f.dir), strings.Contains(c.path, "/snapshotters/") && c.name == "getdents64":
				return 0 // containerd asks the kernel for directories' entries by itself, once
			case c.name != "openat" && c.name != "read" && c.name != "pread64" && c.name != "getdents64" && c.name != "write" && c.name != "pwrite64":
				return 0
			}
			if calls[c.String()]++; calls[c.String()]%2 == 0 {
				return 0
			}
			interrupted++
			return verdict(unix.EINTR)
		})
		if got := p.digest(t, "app:v"); status.ExitStatus() != 0 || got != want {
			t.Errorf("%q: %v, %s in place of %s: %s", extra, status, got, want, stderr)
		}
		f.again()
		t.Logf("faults: interrupted calls, embedded, %q: %d", extra, interrupted)
	}
}
