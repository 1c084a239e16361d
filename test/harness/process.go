package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// process is a server that this process has started: it ends with us, and its output goes to a file.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // why; valid once done is closed
}

type processSpec struct {
	args []string
	env  []string
	log  string // path; appended to
	// rootless: see Settings.
	rootless bool
}

// becomeRootless adds the namespaces of a rootless process.
func becomeRootless(attr *syscall.SysProcAttr) {
	ids := []syscall.SysProcIDMap{{HostID: RootlessID, Size: 65536}}
	attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	attr.UidMappings, attr.GidMappings, attr.GidMappingsEnableSetgroups = ids, ids, true
	attr.Credential = &syscall.Credential{}
}

// startProcess starts a server that gets SIGKILL when this process dies, so that a test that panics or times out
// leaves no daemon behind. The kernel ties that signal to the thread that forked, so one goroutine keeps its thread
// from start to end.
func startProcess(ctx context.Context, spec processSpec) (*process, error) {
	log, err := os.OpenFile(spec.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	// The server outlives the call, and ends by stop.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), spec.args[0], spec.args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = spec.env, log, log
	// A group of its own: ^C goes to the tests, which then stop the server in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if spec.rootless {
		becomeRootless(cmd.SysProcAttr)
	}

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- errors.Join(err, log.Close())
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// await returns when ready does without an error, or when the process has ended or the time is over.
func (p *process) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended at once: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the process with SIGTERM, or SIGKILL when the time is over, which is an error.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("pid %d ignored SIGTERM for %s", p.cmd.Process.Pid, stopTimeout), p.kill())
	}
}

func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// tail returns the last lines of a log, without those that hold one of the texts, or why it cannot.
func tail(path string, lines int, without ...string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	all = slices.DeleteFunc(all, func(line string) bool {
		return slices.ContainsFunc(without, func(text string) bool { return strings.Contains(line, text) })
	})
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
