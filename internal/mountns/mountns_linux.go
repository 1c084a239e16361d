package mountns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/veneer-build/veneer/internal/thread"
)

// Env marks the second run of the program.
const Env = "_VENEER_PRIVATE_MOUNTS"

// Second reports whether this is the second run.
func Second() bool {
	_, second := os.LookupEnv(Env)
	return second
}

// Settle ends what is special about the second run: it takes the mark away, and gives
// the process its name, as ps and pgrep show it. After starting from /proc/self/exe
// it is "exe".
func Settle() error {
	if err := os.Unsetenv(Env); err != nil {
		return fmt.Errorf("clear environment: %w", err)
	}
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0) // A wrong name does no harm.
	return nil
}

// Restart starts the program again in a mount namespace of its own. It returns only
// if there is an error, or nil where the kernel does not allow it.
func Restart() error {
	// If the program is not started again, this thread is in another namespace, and
	// has to end.
	if err := thread.Own(restart); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

func restart() error {
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
			return nil
		}
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""); err != nil {
		// In a chroot, "/" may be no mount point.
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
			return nil
		}
		return fmt.Errorf("stop propagation of mounts: %w", err)
	}
	err := syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), Env+"=1"))
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EACCES) {
		return nil // no /proc
	}
	return fmt.Errorf("start the program again: %w", err)
}
