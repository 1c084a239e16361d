package mountns

import (
	"errors"
	"syscall"

	"github.com/veneer-build/veneer/internal/thread"
)

// Env marks the second run of the program.
const Env = "_VENEER_PRIVATE_MOUNTS"

// Second reports whether this is the second run.
func Second() bool {
	_, second := syscall.Getenv(Env)
	return second
}

// Settle ends what is special about the second run: it takes the mark away, and gives
// the process its name, as ps and pgrep show it. After starting from /proc/self/exe
// it is "exe".
func Settle() error {
	if err := syscall.Unsetenv(Env); err != nil {
		return failure{"clear environment", err}
	}
	if args := Args(); len(args) > 0 {
		setName(args[0])
	}
	return nil
}

// setName names the process as its program. A wrong name does no harm.
func setName(program string) {
	fd, err := syscall.Open("/proc/self/comm", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	begin := 0
	for i := range len(program) {
		if program[i] == '/' {
			begin = i + 1
		}
	}
	_, _ = syscall.Write(fd, []byte(program[begin:]))
	_ = syscall.Close(fd)
}

// Restart starts the program again in a mount namespace of its own. It returns only
// if there is an error, or nil where the kernel does not allow it.
func Restart() error {
	// If the program is not started again, this thread is in another namespace, and
	// has to end.
	if err := thread.Own(restart); err != nil {
		return failure{"make mounts private", err}
	}
	return nil
}

func restart() error {
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
			return nil
		}
		return failure{"unshare mount namespace", err}
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""); err != nil {
		// In a chroot, "/" may be no mount point.
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
			return nil
		}
		return failure{"stop propagation of mounts", err}
	}
	args := Args()
	if args == nil {
		return nil // no /proc
	}
	err := syscall.Exec("/proc/self/exe", args, append(syscall.Environ(), Env+"=1"))
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EACCES) {
		return nil
	}
	return failure{"start the program again", err}
}

// failure says what failed.
type failure struct {
	what string
	err  error
}

func (f failure) Error() string { return f.what + ": " + f.err.Error() }
func (f failure) Unwrap() error { return f.err }
