package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// privateMountsEnv tells the second run of the program that it is that.
const privateMountsEnv = "_VENEER_PRIVATE_MOUNTS"

// PrivateMounts moves the process into a mount namespace of its own, so that
// what it mounts is seen by nobody else and ends with it, however it ends.
// Mounts of the host still arrive.
//
// A namespace is a thread's, and a Go program has many: the way to have all
// of them in it is to start the program again. So this is to be called first
// in main, before anything is read or opened: in the process that was started
// it does not return, but for an error. Without the right to (CAP_SYS_ADMIN),
// it does nothing.
func PrivateMounts() error {
	if _, second := os.LookupEnv(privateMountsEnv); second {
		if err := os.Unsetenv(privateMountsEnv); err != nil {
			return fmt.Errorf("clear environment: %w", err)
		}
		restoreName()
		return nil
	}
	done := make(chan error)
	go func() {
		// Never unlocked: if it comes to no new program, the thread, which is in
		// another namespace by then, ends with this goroutine.
		runtime.LockOSThread()
		done <- reexecPrivate()
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// reexecPrivate returns nil where the kernel does not allow it.
func reexecPrivate() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			return nil
		}
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		// In a chroot, "/" may be no mount point.
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return nil
		}
		return fmt.Errorf("stop propagation of mounts: %w", err)
	}
	err := syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), privateMountsEnv+"=1"))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return nil // no /proc
	}
	return fmt.Errorf("start the program again: %w", err)
}

// restoreName gives the process the name back that ps and pgrep show, which is
// "exe" after starting from /proc/self/exe. Failing to is no harm.
func restoreName() {
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0)
}
