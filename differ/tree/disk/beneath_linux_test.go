package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWalkBeneath holds the way without openat2 against openat2 itself, with each kind of name.
func TestWalkBeneath(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("d/", 40)
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "root", long), 0o755),
		os.MkdirAll(filepath.Join(dir, "root/m/below"), 0o755),
		os.WriteFile(filepath.Join(dir, "secret"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, "root", long, "file"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, "root/file"), nil, 0o600),
		os.Symlink("../secret", filepath.Join(dir, "root/out")),
		os.Symlink("/etc", filepath.Join(dir, "root/absolute")),
		os.Symlink("d", filepath.Join(dir, "root/in")),
		os.Symlink("loop", filepath.Join(dir, "root/loop")),
		unix.Mkfifo(filepath.Join(dir, "root/fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		if err := unix.Mount("tmpfs", filepath.Join(dir, "root/m"), "tmpfs", 0, ""); err == nil {
			defer func() { _ = unix.Unmount(filepath.Join(dir, "root/m"), 0) }()
		}
	}
	root, err := unix.Open(filepath.Join(dir, "root"), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(root) }()
	for _, name := range []string{
		".", "file", "file/x", "none", "none/x", "d", long + "file", "./d/./d", "out", "out/x", "absolute", "absolute/passwd", "in", "in/d",
		"loop", "loop/x", "fifo", "m", "m/below", "..", "../secret", "d/..", "d/../file", "/etc/passwd",
	} {
		for _, flags := range []int{unix.O_RDONLY | unix.O_NONBLOCK, unix.O_PATH, unix.O_PATH | unix.O_DIRECTORY, unix.O_RDONLY | unix.O_DIRECTORY} {
			how := beneath(flags)
			want, wantErr := unix.Openat2(root, name, &how)
			if errors.Is(wantErr, unix.ENOSYS) {
				t.Skip("SKIP: no openat2 to compare with")
			}
			got, gotErr := walkBeneath(root, name, flags)
			// A name that goes up is refused either way: openat2 allows it where it stays below.
			if strings.Contains(name, "..") {
				if gotErr == nil {
					t.Errorf("%s: opened", name)
				}
				continue
			}
			if (wantErr == nil) != (gotErr == nil) || wantErr == nil && identity(t, want) != identity(t, got) {
				t.Errorf("%s, flags %#x: %v, openat2: %v", name, flags, gotErr, wantErr)
			}
			if wantErr != nil && !errors.Is(gotErr, wantErr) {
				t.Errorf("%s, flags %#x: %v, openat2: %v", name, flags, gotErr, wantErr)
			}
			if wantErr == nil {
				_ = unix.Close(want)
			}
			if gotErr == nil {
				_ = unix.Close(got)
			}
		}
	}
}

func identity(t *testing.T, fd int) [2]uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return [2]uint64{st.Dev, st.Ino}
}
