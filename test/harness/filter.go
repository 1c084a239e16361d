package harness

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RunRestricted starts a command under the filter of system calls that a systemd unit's RestrictSUIDSGID=yes sets, as far
// as Go programs meet it, and waits for its end: openat2 is answered by ENOSYS, and what gives a file a setuid or setgid
// bit by EPERM. It needs root. An error that wraps [ErrUnavailable] says that this kernel has no such filters.
func RunRestricted(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // And never unlocked: the thread, which has the filter, ends with the goroutine.
		if err := installFilter(restrictSUIDSGID()); err != nil {
			started <- errors.Join(err, ErrUnavailable)
			return
		}
		started <- cmd.Start() // a child has its thread's filter
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start with a filter of system calls: %w", err)
	}
	return cmd.Wait()
}

// restrictSUIDSGID is the filter as a program of classic BPF (Documentation/userspace-api/seccomp_filter.rst).
func restrictSUIDSGID() []unix.SockFilter {
	const number, firstArgument, argumentSize = 0, 16, 8 // offsets in struct seccomp_data
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	answer := func(errno unix.Errno) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	}
	program := []unix.SockFilter{
		load(number),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_OPENAT2, Jf: 1},
		answer(unix.ENOSYS),
	}
	for call, argument := range map[uint32]uint32{unix.SYS_FCHMOD: 1, unix.SYS_FCHMODAT: 2, unix.SYS_FCHMODAT2: 2, unix.SYS_MKDIRAT: 2, unix.SYS_MKNODAT: 2} {
		program = append(program,
			load(number),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 3},
			load(firstArgument+argument*argumentSize), // its low half, on little-endian machines
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.S_ISUID | unix.S_ISGID, Jf: 1},
			answer(unix.EPERM),
		)
	}
	return append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
}

// installFilter gives this thread, and what it starts, a filter of system calls.
func installFilter(program []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]} // some dozens
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("install filter of system calls: %w", errno)
	}
	return nil
}
