package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/thread"
)

// privateMountsEnv marks the second run of the program, see [PrivateMounts].
const privateMountsEnv = "_VENEER_PRIVATE_MOUNTS"

// PrivateMounts moves the process into a mount namespace of its own. Nobody else sees
// what it mounts, and its mounts end with it, even if it is killed. New mounts of the
// host still appear in the namespace.
//
// Each thread has its own namespace, and a Go program has many threads. So the
// program has to be started again, to have all of them in the new one. Call this
// first in main, before anything is read or opened. In the first run it returns only
// if there is an error. Without CAP_SYS_ADMIN it does nothing.
func PrivateMounts() error {
	if _, second := os.LookupEnv(privateMountsEnv); second {
		if err := os.Unsetenv(privateMountsEnv); err != nil {
			return fmt.Errorf("clear environment: %w", err)
		}
		restoreName()
		return nil
	}
	// If the program is not started again, this thread is in another namespace, and
	// has to end.
	if err := thread.Own(reexecPrivate); err != nil {
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

// restoreName sets the process's name as ps and pgrep show it. After starting from
// /proc/self/exe it is "exe". It ignores errors, which do no harm.
func restoreName() {
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0)
}
