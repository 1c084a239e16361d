package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/veneer-build/veneer/internal/jobcontrol"
)

// usernsEnv tells the further runs of the program which of them they are.
const (
	usernsEnv     = "_VENEER_USER_NAMESPACE"
	usernsMapping = "mapping" // its parent is about to map users
	usernsMapped  = "mapped"
	usernsInside  = "inside" // stays, for [InUserNamespace]
)

// mappedFile is the descriptor on which a run waits for its users.
const mappedFile = 3

// UserNamespace runs the program again as the root of a user namespace of its
// own, with the numbers that /etc/subuid and /etc/subgid give this user for all
// others, and a mount namespace. There an ordinary user's embedded engine
// unpacks images and runs processes. It is to be called first in main, before
// anything is read or opened. In the process that was started it returns false and
// nil; in the first one it returns true with the exit status when that ended, or a
// [*MissingError]. Signals are passed on.
//
// root is the engine's directory, which the program finds as VENEER_ROOT: what
// [engine.DefaultRoot] is for root, is not this user's.
func UserNamespace(ctx context.Context, root string) (done bool, status int, err error) {
	switch os.Getenv(usernsEnv) {
	case usernsMapping:
		return false, 0, waitMapped()
	case usernsMapped:
		err := errors.Join(os.Setenv(usernsEnv, usernsInside), dieWithParent())
		if merr := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); merr != nil {
			err = errors.Join(err, noUserNamespace("the right to mount in a user namespace", merr, os.ReadFile))
		}
		return false, 1, err
	case usernsInside:
		// The program may have started itself again for mounts of its own.
		return false, 1, dieWithParent()
	}
	maps, err := usersOf()
	if err != nil {
		return true, 1, err
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return true, 1, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	stdin, err := stdinOf()
	if err != nil {
		return true, 1, errors.Join(err, ready.Close(), tell.Close())
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), usernsEnv+"="+usernsMapping, "VENEER_ROOT="+root)
	cmd.ExtraFiles = []*os.File{ready}
	// A group of its own: ^C comes once, from here.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Setpgid: true, Pdeathsig: unix.SIGKILL}
	status, err = runMapped(ctx, cmd, maps, tell)
	_ = ready.Close() // Nothing is read here.
	return true, status, err
}

// dieWithParent has the kernel kill this process when the one that started it ends.
// It takes a thread that stays: the kernel remembers it for the thread that asked,
// and forgets it with that thread, where a program gains rights, and where another
// thread starts a program in place of this one.
func dieWithParent() error {
	asked := make(chan error)
	go func() {
		runtime.LockOSThread()
		asked <- unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
		select {}
	}()
	return <-asked
}

// runMapped starts the program, gives it its users, and waits for it.
func runMapped(ctx context.Context, cmd *exec.Cmd, maps [][]string, tell *os.File) (int, error) {
	// The kernel takes the end of the thread that started it for this process's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	if !signal.Ignored(unix.SIGTSTP) {
		signal.Notify(signals, unix.SIGTSTP)
	}
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, errors.Join(noUserNamespace("a user namespace", err, os.ReadFile), tell.Close())
	}
	stop := make(chan struct{})
	defer close(stop)
	go passSignals(cmd.Process, signals, stop)
	var err error
	for _, m := range maps {
		args := append([]string{strconv.Itoa(cmd.Process.Pid)}, m[1:]...)
		if out, merr := exec.CommandContext(ctx, m[0], args...).CombinedOutput(); merr != nil {
			err = noUserNamespace("the right to use the users of /etc/subuid and /etc/subgid in a user namespace",
				fmt.Errorf("%s: %w: %s", strings.Join(append(m[:1:1], args...), " "), merr, strings.TrimSpace(string(out))), os.ReadFile)
			break
		}
	}
	if err == nil {
		_, err = tell.Write([]byte{1})
	}
	err = errors.Join(err, tell.Close())
	werr := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](werr); ok && err == nil {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	if err == nil {
		err = werr // Else the process ended for want of its users.
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// passSignals sends signals on to a process until stop is closed.
func passSignals(p *os.Process, signals <-chan os.Signal, stop <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			_ = p.Signal(s) // It may have ended.
			if s == unix.SIGTSTP {
				stopWith(p)
			}
		case <-stop:
			return
		}
	}
}

// stopTime bounds the wait for a process that is to stop. It erases some lines before.
const stopTime = time.Second

// stopWith stops this process when one has stopped that was told to, and lets that go
// on with this one. A terminal stops just the group that a shell knows.
func stopWith(p *os.Process) {
	for end := time.Now().Add(stopTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.Pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != nil || info.Signo != 0 {
			break // It has stopped, or ended.
		}
	}
	jobcontrol.Stop()
	_ = p.Signal(unix.SIGCONT) // It may have ended.
}

// stdinOf is standard input for a process in another group. The kernel stops one
// that reads a terminal whose group it is not in, so it gets a pipe in that case.
func stdinOf() (*os.File, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return os.Stdin, nil
	}
	r, w, err := os.Pipe()
	if err == nil {
		// Nobody waits for it: it may read until this process ends.
		go copyTerminal(w)
	}
	return r, err
}

// terminalPoll is how often a terminal is looked at while it is another group's.
const terminalPoll = 100 * time.Millisecond

// copyTerminal writes what is typed on the terminal that is standard input. It reads
// it in the foreground alone: elsewhere the kernel would stop this process.
func copyTerminal(w *os.File) {
	defer func() { _ = w.Close() }() // nothing is buffered
	stdin := int(os.Stdin.Fd())
	buf := make([]byte, 4096)
	for {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(stdin), Events: unix.POLLIN}}, int(terminalPoll.Milliseconds())) //nolint:gosec // a descriptor
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if group, err := unix.IoctlGetInt(stdin, unix.TIOCGPGRP); err == nil && group != unix.Getpgrp() {
			time.Sleep(terminalPoll)
			continue
		}
		if ready <= 0 {
			continue
		}
		n, err := os.Stdin.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return // The process has ended, or wants no more.
			}
		}
		if err != nil {
			return
		}
	}
}

// BegunUserNamespace reports whether [UserNamespace] started this process.
func BegunUserNamespace() bool { return os.Getenv(usernsEnv) != "" }

// InUserNamespace reports whether [UserNamespace] made the one that this process is in.
func InUserNamespace() bool { return os.Getenv(usernsEnv) == usernsInside }

// waitMapped runs the program once more when it is root: a program gets root's
// rights when it starts.
func waitMapped() error {
	f := os.NewFile(mappedFile, "mapped")
	n, err := f.Read(make([]byte, 1))
	if n != 1 {
		os.Exit(1) // The parent says why.
	}
	if err := errors.Join(err, f.Close(), os.Setenv(usernsEnv, usernsMapped)); err != nil {
		return err
	}
	// All users and groups but root's own are as they were: others'.
	if err := errors.Join(syscall.Setresgid(0, 0, 0), syscall.Setresuid(0, 0, 0)); err != nil {
		return fmt.Errorf("become root of the user namespace: %w", err)
	}
	return fmt.Errorf("start the program again: %w", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}
