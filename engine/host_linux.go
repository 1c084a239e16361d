package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Sees is nil if path is the same file to this process as to the engine. A
// daemon may have another root file system, when its socket was handed into a
// container: its paths mean nothing there, or something else.
func (e *Engine) Sees(ctx context.Context, path string) error {
	if e.Mode == Embedded {
		return nil
	}
	pid, err := e.daemonPID(ctx)
	if err != nil {
		return fmt.Errorf("find the containerd behind %s: %w", e.address, err)
	}
	var ours, theirs unix.Stat_t
	if err := unix.Stat(path, &ours); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	there := fmt.Sprintf("/proc/%d/root%s", pid, path)
	if err := unix.Stat(there, &theirs); err != nil {
		return &os.PathError{Op: "stat", Path: there, Err: err}
	}
	if ours.Dev != theirs.Dev || ours.Ino != theirs.Ino {
		return fmt.Errorf("%s is another directory to containerd (process %d)", path, pid)
	}
	return nil
}

// daemonPID is the process that listens on the socket, as unix(7) tells of it.
func (e *Engine) daemonPID(ctx context.Context) (_ int32, err error) {
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
