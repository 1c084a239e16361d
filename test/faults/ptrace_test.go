package faults_test

import (
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
)

// changes are the system calls that change what is on disk, also openat where it may create. strace(1) can kill a
// process at the nth of such calls, too, but it counts them for each thread and each call by itself, and a Go program
// moves between threads as it likes.
var changes = map[uint64]string{
	unix.SYS_OPENAT: "openat", unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite64", unix.SYS_FTRUNCATE: "ftruncate",
	unix.SYS_FALLOCATE: "fallocate", unix.SYS_COPY_FILE_RANGE: "copy_file_range",
	unix.SYS_RENAMEAT: "renameat", unix.SYS_RENAMEAT2: "renameat2", unix.SYS_LINKAT: "linkat", unix.SYS_SYMLINKAT: "symlinkat",
	unix.SYS_MKDIRAT: "mkdirat", unix.SYS_MKNODAT: "mknodat", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fdatasync", unix.SYS_SYNCFS: "syncfs", unix.SYS_MOUNT: "mount", unix.SYS_UMOUNT2: "umount2",
	unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHMODAT: "fchmodat", unix.SYS_FCHOWNAT: "fchownat", unix.SYS_UTIMENSAT: "utimensat",
	unix.SYS_LSETXATTR: "lsetxattr", unix.SYS_FSETXATTR: "fsetxattr",
}

// syscallInfo is struct ptrace_syscall_info of ptrace(2), as far as it is used.
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	_    [2]uint64
	nr   uint64
	args [6]uint64
}

const (
	ptraceGetSyscallInfo = 0x420e
	syscallInfoEntry     = 1
)

// traced runs a program under ptrace(2), and with n > 0 kills it at the entry of the nth call of changes: that call is
// not done. It returns the calls, in the order in which they began, and the wait status.
func traced(t *testing.T, cmd *exec.Cmd, n int) (calls []string, status syscall.WaitStatus) {
	t.Helper()
	// ptrace(2) is a matter between threads, and wait4 must reap no other test's child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	log, err := os.CreateTemp(t.TempDir(), "log")
	must(t, err)
	defer log.Close() // only read
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	pid := cmd.Process.Pid
	_, err = syscall.Wait4(pid, &status, syscall.WALL, nil)
	must(t, err)
	must(t, syscall.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEFORK|
		unix.PTRACE_O_TRACEVFORK|unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_EXITKILL))
	resume(pid, 0)
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
				return calls, ws
			}
			continue
		case !ws.Stopped():
			continue
		case ws.StopSignal() == syscall.SIGTRAP|0x80:
			if name := entered(tid); name != "" {
				calls = append(calls, name)
				if len(calls) == n {
					must(t, unix.Kill(pid, unix.SIGKILL))
					continue // It is dying; others may stop once more.
				}
			}
			resume(tid, 0)
		case ws.StopSignal() == syscall.SIGTRAP, ws.StopSignal() == syscall.SIGSTOP:
			resume(tid, 0) // a new thread, or the program that execs
		default:
			resume(tid, ws.StopSignal())
		}
	}
}

// resume lets a thread go on to its next system call; one that was killed meanwhile is none any more.
func resume(tid int, sig syscall.Signal) { _ = syscall.PtraceSyscall(tid, int(sig)) }

// entered returns the name of the call that the thread is about to make, if it is one of changes.
func entered(tid int) string {
	var info syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 || info.op != syscallInfoEntry {
		return ""
	}
	name := changes[info.nr]
	switch name {
	case "openat":
		if info.args[2]&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) == 0 {
			return ""
		}
	case "write":
		// The runtime wakes its threads by pipes, and the rest is for people.
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, info.args[0])); err != nil || !strings.HasPrefix(to, "/tmp/") && !strings.HasPrefix(to, os.TempDir()) || strings.Contains(to, "/log") {
			return ""
		}
	}
	return name
}
