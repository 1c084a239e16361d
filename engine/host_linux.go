package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/fault"
)

// Sees returns nil if path is the same file, with the same owner, for this process
// and for the engine. It may not be: if the daemon's socket was mounted into a
// container, the daemon has another root file system than this process, and a
// rootless daemon has other owners. If that cannot be found out, it returns an
// error too.
func (e *Engine) Sees(ctx context.Context, path string) error {
	if e.Mode == Embedded {
		return nil
	}
	pid, err := e.daemonPID(ctx)
	if err != nil {
		return fmt.Errorf("find the containerd behind %s: %w", e.address, err)
	}
	if err := sameOwners(pid); err != nil {
		return err
	}
	return samePlace(pid, path)
}

// SharesOwners returns nil if this process and the engine use the same numbers for
// the owners of files. If they do not, the error wraps [ErrOtherOwners]. If that
// cannot be found out, it is another error.
func (e *Engine) SharesOwners(ctx context.Context) error {
	if e.Mode == Embedded {
		return nil
	}
	pid, err := e.daemonPID(ctx)
	if err != nil {
		return fmt.Errorf("find the containerd behind %s: %w", e.address, err)
	}
	return sameOwners(pid)
}

// MayMount returns an error if a mount of the engine's snapshots would show other
// owners to this process than to the engine. If that cannot be found out, it
// returns nil.
func (e *Engine) MayMount(ctx context.Context) error {
	if err := e.SharesOwners(ctx); errors.Is(err, ErrOtherOwners) {
		return err
	}
	return nil
}

// MountNamespace opens the daemon's mount namespace, for which what this process
// mounts has to be copied. It is nil where that is this process's own, and with
// the embedded engine. The caller closes it.
func (e *Engine) MountNamespace(ctx context.Context) (*os.File, error) {
	if e.Mode == Embedded {
		return nil, nil
	}
	pid, err := e.daemonPID(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the containerd behind %s: %w", e.address, err)
	}
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return nil, err
	}
	ours, err := os.Stat("/proc/self/ns/mnt")
	if err != nil {
		return nil, errors.Join(err, theirs.Close())
	}
	info, err := theirs.Stat()
	if err != nil || os.SameFile(ours, info) {
		return nil, errors.Join(err, theirs.Close())
	}
	return theirs, nil
}

// sameOwners compares user namespaces. Reading the namespace's link takes the same
// right as reading the process's root directory.
func sameOwners(pid int32) error {
	ours, err := os.Readlink("/proc/self/ns/user")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // The kernel has no user namespaces.
	}
	if err != nil {
		return err
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return err
	}
	if ours != theirs {
		return &fault.Error{
			Kind: ErrOtherOwners, Ref: strconv.Itoa(int(pid)),
			Err: fmt.Errorf("%w (process %d), which runs in another user namespace", ErrOtherOwners, pid),
		}
	}
	return nil
}

// samePlace returns nil if the path leads to the same file for this process and
// for the other one. It compares owners too, since a mount may map them.
func samePlace(pid int32, path string) error {
	var ours, theirs unix.Stat_t
	if err := unix.Stat(path, &ours); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	there := fmt.Sprintf("/proc/%d/root%s", pid, path)
	if err := unix.Stat(there, &theirs); err != nil {
		return &os.PathError{Op: "stat", Path: there, Err: err}
	}
	if ours.Dev != theirs.Dev || ours.Ino != theirs.Ino || ours.Uid != theirs.Uid || ours.Gid != theirs.Gid {
		return fmt.Errorf("%s is another directory to containerd (process %d)", path, pid)
	}
	return nil
}

// daemonPID returns the daemon's process ID. It fails if a proxy listens on the
// socket, and the daemon runs elsewhere.
func (e *Engine) daemonPID(ctx context.Context) (int32, error) {
	pid, err := e.listenerPID(ctx)
	if err != nil {
		return 0, err
	}
	if e.daemon.Load() == pid {
		return pid, nil
	}
	if err := e.isDaemon(ctx, pid); err != nil {
		return 0, err
	}
	e.daemon.Store(pid)
	return pid, nil
}

// isDaemon compares a process with what the daemon says about itself: its process
// ID and PID namespace. Daemons before 1.7 do not say, and are believed.
func (e *Engine) isDaemon(ctx context.Context, pid int32) error {
	self, err := e.Client.IntrospectionService().Server(ctx)
	if err != nil {
		return fmt.Errorf("ask it which process it is: %w", err)
	}
	if self.Pid == 0 || self.Pidns == 0 {
		return nil
	}
	var ns unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/pid", pid), &ns); err != nil {
		return fmt.Errorf("find the PID namespace of process %d: %w", pid, err)
	}
	inside, err := innerPID(pid)
	if err != nil {
		return err
	}
	if ns.Ino != self.Pidns || inside != self.Pid {
		return fmt.Errorf("process %d listens there, and is not containerd, which cannot be seen from here", pid)
	}
	return nil
}

// innerPID returns a process's ID in its own PID namespace.
func innerPID(pid int32) (uint64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if list := strings.Fields(numbers); len(list) > 0 {
				return strconv.ParseUint(list[len(list)-1], 10, 64)
			}
		}
	}
	return uint64(pid), nil // The kernel has no PID namespaces.
}

// listenerPID returns the process that listens on the socket (SO_PEERCRED, unix(7)).
func (e *Engine) listenerPID(ctx context.Context) (_ int32, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", e.address)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%T is no Unix socket", conn)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var optErr error
	err = raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, optErr); err != nil {
		return 0, err
	}
	if cred.Pid == 0 {
		return 0, errors.New("it runs in a PID namespace that this process does not see")
	}
	return cred.Pid, nil
}
