package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a lock that another process holds is tried again.
const lockPoll = 100 * time.Millisecond

// lockRoot takes the embedded engine's lock: a flock on a file that holds the
// owner's process ID. Bolt has a lock too, but waits for it silently and ignores
// the context. The lock ends when the returned file is closed, or with the
// process. The file stays. A symbolic link in its place is an error, since its
// target would be written to.
func lockRoot(ctx context.Context, root string, notify func(string)) (_ io.Closer, err error) {
	f, err := os.OpenFile(filepath.Join(root, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w (remove the link)", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if err := onlyName(f); err != nil {
		return nil, err
	}
	for told := false; ; {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return f, writePID(f)
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if !told {
			notify(fmt.Sprintf("waiting for another veneer process%s on %s", holder(f), root))
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another veneer process%s: %w", holder(f), ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// onlyName returns an error unless f is a regular file with one name.
func onlyName(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
		return fmt.Errorf("lock %s: it is no file of its own (mode %#o, %d names); remove it", f.Name(), st.Mode, st.Nlink)
	}
	return nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write process id: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write process id: %w", err)
	}
	return nil
}

// holder names the lock's owner as " (pid N)". It returns "" if the owner has not
// written its ID yet.
func holder(f *os.File) string {
	b := make([]byte, 20)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	pid := strings.TrimSpace(string(b[:n]))
	if _, err := strconv.Atoi(pid); err != nil {
		return ""
	}
	return " (pid " + pid + ")"
}
