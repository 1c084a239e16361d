package harness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// KernelLogClean fails the test if, while it runs, the kernel logs a warning or worse about overlayfs: a sign that
// two mounts shared a directory, or that one changed below another. The log is the machine's, so a test that runs
// beside it can be to blame, unless the message has its name.
func KernelLogClean(t testing.TB) {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		Check(t, unavailable("read the kernel's log: %v", err))
	}
	// Closed by Cleanup below; not an os.File, whose poller would hide EAGAIN, which means "no more".
	if _, err := unix.Seek(fd, 0, io.SeekEnd); err != nil {
		t.Fatalf("read the kernel's log: %v", err)
	}
	t.Cleanup(func() {
		lines, err := overlayWarnings(fd)
		if err := errors.Join(err, os.NewSyscallError("close", unix.Close(fd))); err != nil {
			t.Errorf("read the kernel's log: %v", err)
		}
		count := map[string]int{}
		for _, line := range lines {
			count[line]++
		}
		for line, n := range count {
			t.Errorf("the kernel warned %d times while this test ran (and so perhaps for another process): %s", n, line)
		}
	})
}

// overlayWarnings reads the records that are there, one per read(2) (Documentation/ABI/testing/dev-kmsg).
func overlayWarnings(fd int) ([]string, error) {
	var found []string
	record := make([]byte, 8192)
	for {
		n, err := unix.Read(fd, record)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return found, nil
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue // EPIPE: records were overwritten; the next read goes on behind the gap
		case err != nil:
			return found, fmt.Errorf("read /dev/kmsg: %w", err)
		}
		head, message, ok := strings.Cut(string(record[:n]), ";")
		if ok && isWarning(head) && strings.HasPrefix(message, "overlayfs:") && !aboutFeatures(message) && !ofAnother(message) {
			found = append(found, strings.TrimSpace(message))
		}
	}
}

// isWarning reads the priority, whose low three bits are the level; 4 is a warning and lower ones are worse.
func isWarning(head string) bool {
	priority, _, _ := strings.Cut(head, ",")
	n, err := strconv.Atoi(priority)
	return err == nil && n&7 <= 4
}

// aboutFeatures reports whether a message tells of what overlayfs does without on an upper file system: one that is full,
// or has no attributes of the kind. No mount does harm to another then.
func aboutFeatures(message string) bool {
	return strings.Contains(message, "failed to set xattr on upper") || strings.Contains(message, "...falling back to ")
}

// ofAnother reports whether a message names a directory of another test process.
func ofAnother(message string) bool {
	return strings.Contains(message, "/"+anyPrefix) && !strings.Contains(message, "/"+tempPrefix())
}
