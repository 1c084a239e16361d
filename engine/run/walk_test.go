package run

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestWalk compares with openat2, which resolves in a root by itself.
func TestWalk(t *testing.T) {
	if fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH}); err != nil {
		t.Skipf("SKIP: openat2: %v", err)
	} else if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "TestWalk") //nolint:usetesting // rapid's T has none
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}()
		// It makes nothing outside, where links lead to.
		inside, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer inside.Close() // only read
		way := rapid.Custom(func(t *rapid.T) string {
			parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "..", ".", ""}), 1, 5).Draw(t, "parts")
			return rapid.SampledFrom([]string{"", "/", "../"}).Draw(t, "start") + strings.Join(parts, "/")
		})
		for range rapid.IntRange(1, 8).Draw(t, "files") {
			// What cannot be made is not made.
			path := strings.TrimPrefix(filepath.Join("/", way.Draw(t, "file")), "/")
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				_ = inside.MkdirAll(path, 0o755)
			case 1:
				_ = inside.WriteFile(path, nil, 0o600)
			default:
				_ = inside.Symlink(way.Draw(t, "target"), path)
			}
		}
		root, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close() // only read
		path := way.Draw(t, "path")
		want, wantErr := inRoot(root, path)
		got, gotErr := walk(root, path, nil)
		if gotErr == nil {
			defer got.Close() // only read
		}
		if wantErr != nil || gotErr != nil {
			if !errors.Is(gotErr, wantErr) {
				t.Fatalf("%q: %v, openat2: %v", path, gotErr, wantErr)
			}
			return
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(got.Fd()), &st); err != nil || st.Ino != want {
			t.Fatalf("%q: inode %d, openat2: %d (%v)", path, st.Ino, want, err)
		}
	})
}

func inRoot(root *os.File, path string) (inode uint64, err error) {
	if path == "" {
		path = "."
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(int(root.Fd()), path, &how)
	for errors.Is(err, unix.EAGAIN) { // Something was renamed or mounted meanwhile, anywhere.
		fd, err = unix.Openat2(int(root.Fd()), path, &how)
	}
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	err = errors.Join(unix.Fstat(fd, &st), unix.Close(fd))
	return st.Ino, err
}
