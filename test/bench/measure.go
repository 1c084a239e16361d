package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/veneer-build/veneer/test/harness"
)

// sample is one measured run.
type sample struct {
	seconds float64
	// cpu are the seconds that the processors worked for it.
	cpu float64
	// rss is the peak of the measured process, daemon that of the daemons that worked for it, in bytes; 0 is unknown.
	// Of rss, anon is what the process itself asked for, not the pages of files that it reads.
	rss, daemon, anon int64
	// layer is what was stored for the new image, in bytes.
	layer int64
	// steps are the seconds of each step, where the tool tells them, and own those of all, as it tells them too.
	steps map[string]float64
	own   float64
}

// stepText is the seconds of each step, for a line of the log.
func (s sample) stepText() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.steps)) {
		fmt.Fprintf(&b, " %s %.3f", name, s.steps[name])
	}
	return b.String()
}

// row is what one tool did in one scenario, over all rounds.
type row struct {
	tool    string
	samples []sample
}

// table is one scenario.
type table struct {
	title string
	rows  []*row
}

func (t *table) add(tool string, s sample) {
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.tool == tool })
	if i < 0 {
		i, t.rows = len(t.rows), append(t.rows, &row{tool: tool})
	}
	t.rows[i].samples = append(t.rows[i].samples, s)
}

// find returns the row of a tool, nil if it has none.
func (t *table) find(tool string) *row {
	for _, r := range t.rows {
		if r.tool == tool {
			return r
		}
	}
	return nil
}

func (r *row) sorted(of func(sample) float64) []float64 {
	values := make([]float64, len(r.samples))
	for i, s := range r.samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values
}

func (r *row) seconds() []float64 { return r.sorted(func(s sample) float64 { return s.seconds }) }

// median of sorted values; 0 for none.
func median(sorted []float64) float64 {
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// command is a process to be measured.
type command struct {
	args []string
	env  []string
	// daemons are processes whose peak memory counts as well.
	daemons []int
	// anon asks for the peak of anonymous memory, which takes looking at the process again and again.
	anon bool
}

// measure runs a command and returns its time and memory. An error holds what it wrote.
//
// A child counts the memory of the process that forked it until it runs its own program, so one that is small, this
// program started anew, stands between.
func measure(ctx context.Context, c command) (sample, error) {
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	usage, written, err := os.Pipe()
	if err != nil {
		return sample{}, err
	}
	defer usage.Close()
	for _, pid := range c.daemons {
		resetPeak(pid)
	}
	name := measureCommand
	if c.anon {
		name = measureAnonCommand
	}
	cmd := exec.CommandContext(ctx, self, append([]string{name}, c.args...)...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.ExtraFiles = []*os.File{written}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = errors.Join(cmd.Run(), written.Close())
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", strings.Join(c.args, " "), err, lastLines(out.String(), 20))
	}
	var s sample
	if _, err := fmt.Fscan(usage, &s.seconds, &s.cpu, &s.rss, &s.anon); err != nil {
		return s, fmt.Errorf("read usage of %s: %w", c.args[0], err)
	}
	for _, pid := range c.daemons {
		s.daemon += harness.PeakMemory(pid)
	}
	return s, nil
}

// measureCommand makes this program run a command, and write its seconds and peak memory to descriptor 3. The other
// one watches its anonymous memory too.
const (
	measureCommand     = "measure-command"
	measureAnonCommand = "measure-anon-command"
)

func runMeasured(ctx context.Context, args []string, watch bool) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: %s COMMAND", measureCommand)
	}
	usage := os.NewFile(3, "usage")
	syscall.CloseOnExec(3)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	anon := func() int64 { return 0 }
	if watch {
		anon = watchAnon(cmd.Process.Pid)
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	rusage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("no resource usage of a child process")
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	_, err := fmt.Fprintln(usage, seconds, cpu.Seconds(), rusage.Maxrss<<10, anon())
	return errors.Join(err, usage.Close())
}

// quiet runs a command that is not measured.
func quiet(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, lastLines(stderr.String(), 20))
	}
	return string(out), nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// resetPeak sets a process's peak memory to its present one (proc(5), clear_refs).
func resetPeak(pid int) {
	// A kernel that cannot leaves the peak of the process's life, which is an upper bound.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
}

// findProcess returns the process that has the argument, 0 if none.
func findProcess(argument string) int {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil || !slices.Contains(strings.Split(string(line), "\x00"), argument) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && pid != os.Getpid() {
			return pid
		}
	}
	return 0
}
