// Package jobcontrol stops this process as Control-Z does, for programs that have
// something to do before.
package jobcontrol

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction has room for the kernel's struct sigaction of any machine. All zero is the
// default action, whatever the order of its fields.
type sigaction [64]byte

// sigsetSize is the size of the kernel's sets of signals, of 64 bits.
const sigsetSize = 8

// Stop does what SIGTSTP does where nobody handles it, and returns when the process
// goes on. The kernel stops no process that nobody could let go on, as one that a
// terminal was opened for. Then it returns at once.
//
// It is for one caller at a time, and where the signal is handled. signal.Reset would
// not do: after it Go drops the signal.
func Stop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var none, before sigaction
	if setAction(&none, &before) != nil {
		return // There is no such error for this signal.
	}
	// To this thread: when the call returns, the process was stopped and goes on.
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGTSTP) // It is this very process.
	_ = setAction(&before, nil)
}

// setAction sets what SIGTSTP does.
func setAction(to, before *sigaction) error {
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGTSTP),
		uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(before)), sigsetSize, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
