package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/veneer-build/veneer/engine/run"
)

func testExit(t *testing.T, f *fixture) {
	i := f.image(t, nil)
	for _, c := range []struct {
		script       string
		code, signal int
	}{
		{"exit 3", 3, 0},
		{"exit 1", 1, 0},
		{"exit 255", 255, 0},
		{`sh -c 'kill -9 $$'`, 137, 9},
		{"no-such-command", 127, 0},
	} {
		_, err := f.sh(t, i, run.Process{}, c.script)
		var exit *run.ExitError
		if !errors.As(err, &exit) || *exit != (run.ExitError{Code: c.code, Signal: c.signal}) {
			t.Errorf("%s: %v", c.script, err)
		}
	}
	if why := f.fails(t, i, run.Process{Args: []string{"no-such-program"}}); !strings.Contains(why, "no-such-program") {
		t.Error(why)
	}
	if why := f.fails(t, i, run.Process{Args: []string{"/etc/hostname"}}); !strings.Contains(why, "/etc/hostname") {
		t.Error(why)
	}
	// All that it started ends with it.
	f.must(t, i, run.Process{}, "sleep 1000 & sleep 1000 & echo made >/made")
	if out := f.must(t, i, run.Process{}, "cat /made; ps ax 2>/dev/null | grep -c [s]leep; ls -d /proc/[0-9]*"); strings.Contains(out, "/proc/2\n/proc/3") || !strings.HasPrefix(out, "made\n") {
		t.Errorf("in the second process: %s", out)
	}
}

type failing struct{ after int }

var errFull = errors.New("full")

func (w *failing) Write(p []byte) (int, error) {
	if w.after -= len(p); w.after < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func testStreams(t *testing.T, f *fixture) {
	i := f.image(t, nil)
	sh := func(p run.Process, script string) error {
		p.Args = []string{"/bin/sh", "-c", script}
		return f.runner.Run(f.ctx, i.mounts, p)
	}
	var out, errs bytes.Buffer
	if err := sh(run.Process{Stdout: &out, Stderr: &errs}, "echo out; echo err >&2; cat"); err != nil || out.String() != "out\n" || errs.String() != "err\n" {
		t.Errorf("%v; output %q, errors %q", err, out.String(), errs.String())
	}
	// Many bytes, in order, and all of them.
	out.Reset()
	if err := sh(run.Process{Stdout: &out}, "/usr/bin/seq 1000000"); err != nil || out.Len() != 6888896 || !strings.HasSuffix(out.String(), "\n999999\n1000000\n") {
		t.Errorf("%v; %d bytes", err, out.Len())
	}
	// Nobody reads, and nothing fails.
	if err := sh(run.Process{}, "/usr/bin/seq 100000; echo err >&2"); err != nil {
		t.Error(err)
	}
	if err := sh(run.Process{Stdout: &failing{after: 10}}, "/usr/bin/seq 100000; echo >/done"); !errors.Is(err, errFull) {
		t.Errorf("a writer that fails: %v", err)
	}
	if _, err := os.Stat(filepath.Join(i.upper, "done")); err != nil {
		t.Errorf("a writer that fails stopped the process: %v", err)
	}
	// Input, to its end, and one that never ends.
	out.Reset()
	if err := sh(run.Process{Stdin: strings.NewReader("a line\n"), Stdout: &out}, "/bin/cat"); err != nil || out.String() != "a line\n" {
		t.Errorf("%v; %q", err, out.String())
	}
	never, feed := io.Pipe()
	defer feed.Close()
	if err := sh(run.Process{Stdin: never}, "true"); err != nil {
		t.Error(err)
	}
}

// started is a writer that tells of the first output that begins so.
type started struct {
	once   sync.Once
	tell   chan struct{}
	prefix string
	text   []byte
}

func (s *started) Write(p []byte) (int, error) {
	if s.text = append(s.text, p...); bytes.HasPrefix(s.text, []byte(s.prefix)) {
		s.once.Do(func() { close(s.tell) })
	}
	return len(p), nil
}

func testCancel(t *testing.T, f *fixture) {
	i := f.image(t, nil)
	marker := "VENEER_TEST_MARKER=" + filepath.Base(i.upper) + t.Name()
	ctx, cancel := context.WithCancelCause(f.ctx)
	defer cancel(nil)
	cause := errors.New("enough")
	began := &started{tell: make(chan struct{})}
	var errs bytes.Buffer
	go func() {
		<-began.tell
		cancel(cause)
	}()
	err := f.runner.Run(ctx, i.mounts, run.Process{
		Args: []string{"/bin/sh", "-c", "trap '' TERM INT HUP; /bin/sleep 1000 & setsid /bin/sleep 1000 & echo; while :; do /bin/sleep 1000; done"},
		Env:  []string{marker, "PATH=/usr/bin:/bin"}, Stdout: began, Stderr: &errs,
	})
	// Of what runs it nothing is told as if the process had.
	if string(began.text) != "\n" || errs.Len() > 0 {
		t.Errorf("output %q, errors %q", began.text, errs.String())
	}
	var exit *run.ExitError
	if !errors.Is(err, cause) || errors.As(err, &exit) {
		t.Errorf("cancelled: %v", err)
	}
	if found := withEnv(t, marker); len(found) > 0 {
		t.Errorf("still there: %v", found)
	}
	// Before and while it starts.
	for _, after := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(f.ctx, after)
		err := f.runner.Run(ctx, i.mounts, run.Process{Args: []string{"/bin/sleep", "1000"}, Env: []string{marker}})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled after %s: %v", after, err)
		}
		f.nothingLeft(t)
	}
	if found := withEnv(t, marker); len(found) > 0 {
		t.Errorf("still there: %v", found)
	}
}

// withEnv finds the processes that have a variable.
func withEnv(t *testing.T, variable string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range all {
		if env, err := os.ReadFile(path); err == nil && bytes.Contains(env, []byte(variable)) {
			found = append(found, path)
		}
	}
	return found
}

func testTogether(t *testing.T, f *fixture) {
	var wg sync.WaitGroup
	for n := range 4 {
		i := f.image(t, nil)
		wg.Go(func() {
			var out bytes.Buffer
			err := f.runner.Run(f.ctx, i.mounts, run.Process{Args: []string{"/bin/sh", "-c", fmt.Sprintf("echo %d; exit %d", n, n)}, Stdout: &out})
			var exit *run.ExitError
			if out.String() != fmt.Sprintln(n) || n > 0 && (!errors.As(err, &exit) || exit.Code != n) || n == 0 && err != nil {
				t.Errorf("%d: %v, %q", n, err, out.String())
			}
		})
	}
	wg.Wait()
}

func testLimits(t *testing.T, f *fixture) {
	i := f.image(t, nil)
	p := run.Process{Ulimits: []run.Ulimit{{"nofile", 123, 456}, {"CORE", -1, -1}}, ShmSize: 1 << 20}
	out := f.must(t, i, p, "ulimit -Sn; ulimit -Hn; ulimit -c; df -k /dev/shm | tail -1")
	if !strings.HasPrefix(out, "123\n456\nunlimited\nshm ") || strings.Fields(out)[4] != "1024" {
		t.Errorf("limits: %s", out)
	}
	const eater = `a=$(head -c 200000000 /dev/zero | tr '\0' x); echo ${#a}`
	_, err := f.sh(t, i, run.Process{Memory: 40 << 20}, eater)
	var exit *run.ExitError
	if !errors.As(err, &exit) || !exit.OOM || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("out of memory: %v", err)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		testLimitsV1(t, f)
		return
	}
	p = run.Process{Memory: 40 << 20, Swap: 50 << 20, CPU: run.CPU{Quota: 20_000, Period: 100_000, Processors: "0"}}
	out = f.must(t, i, p, "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max cpuset.cpus")
	if out != "41943040\n10485760\n20000 100000\n0\n" {
		t.Errorf("limits: %s", out)
	}
}

// testLimitsV1 looks for the limits where cgroups of v1 have them. Swap is left out:
// few kernels count it there.
func testLimitsV1(t *testing.T, f *fixture) {
	p := run.Process{Memory: 40 << 20, CPU: run.CPU{Quota: 20_000, Period: 100_000, Shares: 512}}
	out := f.must(t, f.image(t, nil), p, "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares")
	if out != "41943040\n20000\n100000\n512\n" {
		t.Errorf("limits: %s", out)
	}
}

func testCgroup(t *testing.T, f *fixture) {
	dir := "/sys/fs/cgroup/memory" // v1, whose own file system in the container may be written to
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	v2 := err == nil
	if v2 {
		dir = "/sys/fs/cgroup"
	}
	out := f.must(t, f.image(t, nil), run.Process{}, "cat /proc/self/cgroup; mkdir "+dir+"/x 2>&1; true")
	if !strings.Contains(out, "Read-only") {
		t.Errorf("the cgroups can be written to: %s", out)
	}
	if !v2 && !strings.Contains(out, ":memory:/veneer-run-") { // v2: A namespace hides the name.
		t.Errorf("cgroup: %s", out)
	}
}
