package run

import (
	"context"
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

// killTied kills the first process of the namespace that a tied command, the
// process of that number, has. The command then waits for the end of the others.
func killTied(pid int) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	children := strings.Fields(string(data))
	if err != nil || len(children) == 0 {
		// It has none yet, or the kernel does not tell (CONFIG_PROC_CHILDREN).
		children = []string{strconv.Itoa(pid)}
	}
	for _, child := range children {
		if n, err := strconv.Atoi(child); err == nil {
			_ = unix.Kill(n, unix.SIGKILL) // It may have ended.
		}
	}
}

// notBegun is why a tied command did not come to start runc; nil: it did, and the
// container is there.
func notBegun(dir, id string) error {
	if _, err := os.Stat(filepath.Join(dir, "state", id)); err != nil {
		return fmt.Errorf("unshare or runc failed, and said why in the output: %w", err)
	}
	return nil
}
