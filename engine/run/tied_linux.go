package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tiedOptions are those of unshare(1), before a command that is to end with it and
// with all that it starts, also if it is killed: the command is the first process
// of a namespace of processes, and the kernel kills the others when that ends.
// With runc alone, a container would go on.
func tiedOptions() []string {
	return []string{"--pid", "--fork", "--kill-child", "--mount-proc", "--"}
}

// tieTimeout bounds the trial of [tie], which takes milliseconds.
const tieTimeout = 10 * time.Second

// tie returns what to put before runc so that processes end with this one. It is
// empty where there is no unshare(1) that can. Then a killed process leaves its
// processes to [Runner.Sweep].
func tie(ctx context.Context, runc string) []string {
	path, err := exec.LookPath("unshare")
	if err != nil {
		if path, err = exec.LookPath("/usr/bin/unshare"); err != nil {
			return nil
		}
	}
	before := append([]string{path}, tiedOptions()...)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tieTimeout)
	defer cancel()
	if exec.CommandContext(ctx, path, append(tiedOptions(), runc, "--version")...).Run() != nil {
		return nil // Busybox's, or what this process may not do.
	}
	return before
}

// killerOf returns what kills a tied command, whose number comes from started once
// it runs. runc kill cannot: the numbers that runc remembers are those of another
// namespace.
func killerOf(started <-chan int) func() {
	pid := 0
	return func() {
		if pid == 0 {
			select {
			case pid = <-started:
			default:
			}
		}
		if pid != 0 {
			killTied(pid)
		}
	}
}

// killTied kills the first process of the namespace that a tied command, the process
// of that number, has. Once that and thus all others have ended, it kills the command.
// It is to be called until that has ended, too.
//
// The command is stopped meanwhile. It would tell, among what the process wrote, that
// a signal has ended what it waits for.
func killTied(pid int) {
	_ = unix.Kill(pid, unix.SIGSTOP) // It may have ended.
	// It has no children yet, or the kernel does not tell (CONFIG_PROC_CHILDREN): then
	// they end by its own end.
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	over := true
	for child := range strings.FieldsSeq(string(data)) {
		if n, err := strconv.Atoi(child); err == nil {
			over = killed(n) && over
		}
	}
	if over {
		_ = unix.Kill(pid, unix.SIGKILL) // It may have ended.
	}
}

// killed kills a process and reports whether it has ended, after a moment. Where the
// kernel does not say, it has.
func killed(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	_ = unix.Kill(pid, unix.SIGKILL) // It may have ended.
	if err != nil {
		return true
	}
	defer func() { _ = unix.Close(fd) }()                         // it is only looked at
	polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
	n, err := unix.Poll(polled, int(killPoll.Milliseconds()))
	return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
}

// notBegun is why a tied command did not come to start runc; nil: it did, and the
// container is there.
func notBegun(dir, id string) error {
	if _, err := os.Stat(filepath.Join(dir, "state", id)); err != nil {
		return fmt.Errorf("unshare or runc failed, and said why in the output: %w", err)
	}
	return nil
}
