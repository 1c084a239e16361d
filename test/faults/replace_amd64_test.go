package faults_test

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// canReplace says whether a traced call can be kept from being made on this architecture.
func canReplace() error { return nil }

// replace has a thread that is stopped at the entry of a call make one that does nothing.
func replace(tid int) error {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Orig_rax = unix.SYS_GETPID
	return syscall.PtraceSetRegs(tid, &regs)
}

// answer gives the replaced call its result.
func answer(tid int, v verdict) error {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Rax = 0
	if v > 0 {
		regs.Rax = -uint64(v)
	}
	return syscall.PtraceSetRegs(tid, &regs)
}
