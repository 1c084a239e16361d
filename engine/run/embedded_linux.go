package run

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	runc "github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// embedded runs processes with runc, without a daemon.
type embedded struct {
	*host
	command string

	tieOnce sync.Once
	before  []string // see [tie]
}

// Run implements [Runner].
func (r *embedded) Run(ctx context.Context, rootfs []mount.Mount, p Process) error {
	return r.run(ctx, rootfs, p, func(*sandbox) error { return nil }, r.execute)
}

// runcIn returns runc with its state in the directory of a sandbox.
func runcIn(command, dir string) *runc.Runc {
	return &runc.Runc{
		Command: command, Root: filepath.Join(dir, "state"), Log: filepath.Join(dir, logName), LogFormat: runc.JSON,
		// A group of its own: ^C is for this process, which then kills all in order.
		Setpgid: true, PdeathSignal: unix.SIGKILL,
	}
}

func (r *embedded) execute(ctx context.Context, s *sandbox, spec *specs.Spec, p *Process) error {
	if err := writeConfig(s.dir, spec); err != nil {
		return fmt.Errorf("describe process to runc: %w", err)
	}
	tool := runcIn(r.command, s.dir)
	s.undo = append(s.undo, func() error {
		ctx, cancel := undoing(ctx)
		defer cancel()
		if err := tool.Delete(ctx, s.id, &runc.DeleteOpts{Force: true}); err != nil {
			return fmt.Errorf("remove container %s: %w", s.id, err)
		}
		return nil
	})
	// Killing runc would leave the processes: they are killed first.
	alive, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	r.tieOnce.Do(func() { r.before = tie(ctx, r.command) })
	started := make(chan int, 1)
	kill := killerOf(started)
	if r.before == nil {
		kill = func() { _ = tool.Kill(alive, s.id, int(unix.SIGKILL), nil) }
	}
	ended, killed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(killed)
		killOnCancel(ctx, ended, kill, abort)
	}()
	var out outputs
	stdio, err := newStdio(p, &out)
	if err == nil {
		stdio.before = r.before
		// The container is kept, so that its cgroup can be looked at.
		_, err = tool.Run(alive, s.id, s.dir, &runc.CreateOpts{IO: stdio, ExtraArgs: []string{"--keep"}, Started: started})
		stdio.close()
	}
	close(ended)
	<-killed
	exit, ok := errors.AsType[*runc.ExitError](err)
	if err != nil && !ok {
		return &StartError{p.Args, err}
	}
	if err == nil {
		return out.failed()
	}
	own := lastError(filepath.Join(s.dir, logName))
	if own == nil {
		own = notBegun(s.dir, s.id)
	}
	if own != nil {
		return &StartError{p.Args, own}
	}
	return exitError(exit.Status, oomKilled(s.cgroup()))
}

// killOnCancel calls kill when ctx ends. It repeats that until the process has
// ended, since the process may not have started yet. If it does not end, abort is
// called once.
func killOnCancel(ctx context.Context, ended <-chan struct{}, kill, abort func()) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	give := time.After(killTimeout)
	for {
		kill()
		select {
		case <-ended:
			return
		case <-give:
			abort()
			<-ended
			return
		case <-time.After(killPoll):
		}
	}
}

func writeConfig(dir string, spec *specs.Spec) error {
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600)
}

// stdio connects runc with the process's streams.
type stdio struct {
	before         []string // of runc's command line
	stdin, feed    *os.File
	stdout, stderr io.Writer
}

func newStdio(p *Process, out *outputs) (_ *stdio, err error) {
	s := &stdio{}
	stdout, stderr := out.streams(p)
	s.stdout, s.stderr = stdout, stderr
	if p.Stdin == nil {
		return s, nil
	}
	// A pipe of our own: os/exec would wait for the last Read of Stdin.
	if s.stdin, s.feed, err = os.Pipe(); err != nil {
		return nil, err
	}
	go func() {
		_, _ = io.Copy(s.feed, p.Stdin) // The process may not read all.
		_ = s.feed.Close()
	}()
	return s, nil
}

// close ends the input of a process that has ended.
func (s *stdio) close() {
	if s.stdin != nil {
		_ = s.stdin.Close() // only read
		_ = s.feed.Close()  // It may be closed already.
	}
}

// Set implements runc.IO.
func (s *stdio) Set(cmd *exec.Cmd) {
	if s.stdin != nil {
		cmd.Stdin = s.stdin
	}
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	if len(s.before) > 0 {
		cmd.Args = append(append(s.before[:len(s.before):len(s.before)], cmd.Path), cmd.Args[1:]...)
		cmd.Path = s.before[0]
	}
	// The time counts from when runc itself was killed.
	cmd.WaitDelay = killTimeout
}

// Close, Stdin, Stdout and Stderr implement runc.IO.
func (s *stdio) Close() error          { return nil }
func (s *stdio) Stdin() io.WriteCloser { return nil }
func (s *stdio) Stdout() io.ReadCloser { return nil }
func (s *stdio) Stderr() io.ReadCloser { return nil }

// logName is the file in which runc writes its own errors. The exit code of runc
// alone could be that of the process.
const logName = "runc.log"

// maxLog bounds what is read of it.
const maxLog = 1 << 20

func lastError(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // runc had nothing to say.
	}
	defer f.Close() // only read
	var last error
	lines := bufio.NewScanner(io.LimitReader(f, maxLog))
	lines.Buffer(nil, maxLog)
	for lines.Scan() {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Level == "error" {
			last = errors.New(entry.Msg)
		}
	}
	return last
}
