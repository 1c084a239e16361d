package faults_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/test/harness"
)

// sysCall is a system call that a traced program is about to make.
type sysCall struct {
	name string
	path string // of its first descriptor, or the path that it names; that of a copy is where it writes
	fd   uint64 // its first argument
	tid  int    // of the thread that calls
}

func (c sysCall) String() string { return c.name + " " + c.path }

// verdict is what becomes of a call: 0, it is made; dropped, it is not made, and succeeds; else it fails with that error.
type verdict int

const dropped verdict = -1

// watched are the calls that a verdict is asked for: those of changes, and those that read.
func watched(nr uint64) string {
	switch nr {
	case unix.SYS_READ:
		return "read"
	case unix.SYS_PREAD64:
		return "pread64"
	case unix.SYS_GETDENTS64:
		return "getdents64"
	}
	return changes[nr]
}

// judged runs a program under ptrace(2), and has judge decide on each of its system calls. While judge runs, the thread
// that calls is stopped. The result is the wait status and what the program wrote to standard error.
func judged(t *testing.T, cmd *exec.Cmd, judge func(sysCall) verdict) (status syscall.WaitStatus, stderr string) {
	t.Helper()
	harness.Check(t, canReplace())
	runtime.LockOSThread() // ptrace(2) is a matter between threads.
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	out, err := os.CreateTemp(t.TempDir(), "out")
	must(t, err)
	log, err := os.CreateTemp(t.TempDir(), "log")
	must(t, err)
	defer func() { must(t, out.Close(), log.Close()) }()
	cmd.Stdout, cmd.Stderr = out, log
	must(t, cmd.Start())
	pid := cmd.Process.Pid
	_, err = syscall.Wait4(pid, &status, syscall.WALL, nil)
	must(t, err)
	must(t, syscall.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEFORK|
		unix.PTRACE_O_TRACEVFORK|unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_EXITKILL))
	resume(pid, 0)
	answers := map[int]verdict{} // of threads whose call was replaced
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &ws, syscall.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		must(t, err)
		switch {
		case ws.Exited() || ws.Signaled():
			if tid == pid {
				data, err := os.ReadFile(log.Name())
				must(t, err)
				return ws, string(bytes.TrimSpace(data))
			}
		case !ws.Stopped():
		case ws.StopSignal() == syscall.SIGTRAP|0x80:
			judgeStop(t, tid, answers, judge)
			resume(tid, 0)
		case ws.StopSignal() == syscall.SIGTRAP, ws.StopSignal() == syscall.SIGSTOP:
			resume(tid, 0) // a new thread, or the program that execs
		default:
			resume(tid, ws.StopSignal())
		}
	}
}

// judgeStop handles a thread that stopped at the entry of a system call, or at its exit.
func judgeStop(t *testing.T, tid int, answers map[int]verdict, judge func(sysCall) verdict) {
	t.Helper()
	if v, ok := answers[tid]; ok {
		delete(answers, tid)
		must(t, answer(tid, v))
		return
	}
	var info syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 || info.op != syscallInfoEntry {
		return
	}
	name := watched(info.nr)
	if name == "" {
		return
	}
	v := judge(sysCall{name, pathOf(tid, name, info.args), info.args[0], tid})
	if v == 0 {
		return
	}
	must(t, replace(tid))
	answers[tid] = v
}

// pathOf says what a call is about.
func pathOf(tid int, name string, args [6]uint64) string {
	switch name {
	case "openat", "mkdirat", "unlinkat", "mknodat", "fchmodat", "fchownat", "utimensat":
		return pathAt(tid, args[0], args[1])
	case "renameat", "renameat2", "linkat":
		return pathAt(tid, args[2], args[3])
	case "symlinkat":
		return pathAt(tid, args[1], args[2])
	case "mount":
		return text(tid, args[1])
	case "umount2", "lsetxattr":
		return text(tid, args[0])
	case "copy_file_range":
		return openFile(tid, args[2])
	}
	return openFile(tid, args[0])
}

// pathAt is a path that is relative to an open directory.
func pathAt(tid int, dirfd, at uint64) string {
	path := text(tid, at)
	if strings.HasPrefix(path, "/") || int32(dirfd) == unix.AT_FDCWD { // as the kernel takes it
		return path
	}
	return strings.TrimSuffix(openFile(tid, dirfd)+"/"+path, "/")
}

// openFile is the path of an open file, "" where it is closed.
func openFile(tid int, fd uint64) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(fd))) // as the kernel takes it
	return path
}

// text reads a path from the memory of a thread.
func text(tid int, at uint64) string {
	buf := make([]byte, 4096)
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", tid))
	if err != nil {
		return ""
	}
	defer f.Close()                  // only read
	n, _ := f.ReadAt(buf, int64(at)) // an address; what could not be read is not said
	end := bytes.IndexByte(buf[:n], 0)
	return string(buf[:max(0, end)])
}
