package disk_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/test/harness"
)

// TestGuardedOpens: of a guarded tree only regular files are opened, whatever came in their place, and a device never.
func TestGuardedOpens(t *testing.T) {
	harness.RequireRoot(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(at("file"), []byte("x"), 0o600), os.Symlink("file", at("link")), os.Mkdir(at("dir"), 0o700),
		unix.Mkfifo(at("pipe"), 0o600), unix.Mknod(at("char"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
		unix.Mknod(at("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0)))); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	d := guarded(t, dir)
	f, err := d.Open("file")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	for _, name := range []string{"char", "block", "socket"} {
		if _, err := unix.InotifyAddWatch(watch, at(name), unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"link", "dir", "pipe", "char", "block", "socket"} {
		if f, err := d.Open(name); !errors.Is(err, tree.ErrNotRegular) {
			t.Errorf("%s: opened %v, %v", name, f, err)
		}
	}
	if n, err := unix.Read(watch, make([]byte, 4096)); err == nil {
		t.Errorf("a device or socket was opened: %d bytes of events", n)
	}
	// The watch does tell.
	null, err := os.Open(at("char"))
	if err != nil {
		t.Skipf("devices cannot be opened here at all: %v", err)
	}
	defer null.Close()
	if n, err := unix.Read(watch, make([]byte, 4096)); err != nil || n == 0 {
		t.Errorf("the watch tells nothing: %v", err)
	}
	if _, err := d.Open("missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// TestGuardHidesNothing: what a mount beneath a guarded tree hides stays hidden, and the mount is not crossed.
func TestGuardHidesNothing(t *testing.T) {
	harness.RequireRoot(t)
	for _, how := range []struct {
		name        string
		propagation uintptr
	}{{"private", unix.MS_PRIVATE}, {"shared", unix.MS_SHARED}, {"unbindable", unix.MS_UNBINDABLE}} {
		t.Run(how.name, func(t *testing.T) {
			dir := t.TempDir()
			mnt := filepath.Join(dir, "mnt")
			if err := errors.Join(os.Mkdir(mnt, 0o755), os.WriteFile(filepath.Join(mnt, "hidden"), nil, 0o600), unix.Mount("tmpfs", mnt, "tmpfs", 0, "")); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(mnt, 0); err != nil {
					t.Error(err)
				}
			})
			if err := unix.Mount("", mnt, "", how.propagation, ""); err != nil {
				t.Fatal(err)
			}
			sub, err := guarded(t, dir).Sub("mnt")
			if err != nil {
				t.Fatal(err)
			}
			if entries, err := sub.Entries(t.Context()); !errors.Is(err, tree.ErrMountPoint) {
				t.Errorf("listed %v, %v", entries, err)
			}
			if f, err := sub.Open("hidden"); !errors.Is(err, tree.ErrMountPoint) {
				t.Errorf("opened %v, %v", f, err)
			}
		})
	}
}

// guarded opens a directory's root, guarded.
func guarded(t *testing.T, dir string) tree.Dir {
	t.Helper()
	l, err := disk.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	l.Guard()
	_, d, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}
