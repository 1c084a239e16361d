package disk_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree/disk"
)

// What became a pipe or a device since its directory was read is not opened:
// that alone makes some devices act, and whoever waits at a pipe go on.
func TestOpenLooksFirst(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := disk.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, d, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if f, err := d.Open("f"); err != nil {
		t.Fatal(err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, name, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	if f, err := d.Open("f"); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("opened %v, %v", f, err)
	}
	if l, err := disk.OpenLocal(name); err == nil || !strings.Contains(err.Error(), "neither a directory nor a regular file") {
		t.Errorf("opened %v, %v", l, err)
	}
	if n, err := unix.Read(watch, make([]byte, 4096)); err == nil {
		t.Errorf("it was opened: %d bytes of events", n)
	}
	// The watch does tell.
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 100 {
		if n, _ := unix.Read(watch, make([]byte, 4096)); n > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("the watch tells nothing")
}
