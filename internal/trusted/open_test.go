package trusted_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/internal/trusted"
)

// A path is taken if nobody else can say where it leads.
func TestOpenDir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: only root can make other users' files")
	}
	dir := t.TempDir()
	in := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	const other = 65534
	for _, make := range []func() error{
		func() error { return os.MkdirAll(in("own", "sub"), 0o755) },
		func() error { return os.MkdirAll(in("theirs", "sub"), 0o755) },
		func() error { return os.Chown(in("theirs"), other, other) },
		func() error { return os.MkdirAll(in("open", "sub"), 0o755) },
		func() error { return os.Chmod(in("open"), 0o777) },
		func() error { return os.MkdirAll(in("sticky", "own"), 0o755) },
		func() error { return os.MkdirAll(in("sticky", "theirs"), 0o755) },
		func() error { return os.Chown(in("sticky", "theirs"), other, other) },
		func() error { return os.Chmod(in("sticky"), 0o777|fs.ModeSticky) },
		func() error { return os.Symlink("own/../own/sub", in("link")) },
		func() error { return os.Symlink(in("own"), in("sticky", "link")) },
		func() error { return os.Symlink(in("own"), in("sticky", "theirlink")) },
		func() error { return os.Lchown(in("sticky", "theirlink"), other, other) },
		func() error { return os.Symlink("loop", in("loop")) },
		func() error { return os.WriteFile(in("file"), nil, 0o600) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]error{
		"own/sub": nil, "own/./sub/..": nil, "link": nil, "sticky": nil, "sticky/own": nil, "sticky/link/sub": nil, "/": nil,
		"theirs": trusted.ErrForeign, "theirs/sub": trusted.ErrForeign, "open/sub": trusted.ErrForeign,
		"sticky/theirs": trusted.ErrForeign, "sticky/theirlink": trusted.ErrForeign, "sticky/theirlink/sub": trusted.ErrForeign,
		"loop": unix.ELOOP, "file": unix.ENOTDIR, "file/x": unix.ENOTDIR, "own/absent": unix.ENOENT,
	} {
		if path != "/" {
			path = dir + "/" + path
		}
		f, err := trusted.OpenDir(path)
		if !errors.Is(err, want) || (err == nil) != (f != nil) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		if f == nil {
			continue
		}
		got, err := f.Stat()
		wanted, werr := os.Stat(path)
		if err := errors.Join(err, werr); err != nil || !os.SameFile(got, wanted) {
			t.Errorf("%s: opened another directory, %v", path, err)
		}
		f.Close()
	}
	for _, path := range []string{in("theirs", "new"), in("sticky", "theirlink", "new")} {
		if _, _, err := trusted.MakeDir(path); !errors.Is(err, trusted.ErrForeign) {
			t.Errorf("make %s: %v", path, err)
		}
	}
	for i, want := range []bool{true, false} {
		f, made, err := trusted.MakeDir(in("own", "a", "b"))
		if err != nil || made != want {
			t.Fatalf("%d: made %t, %v", i, made, err)
		}
		f.Close()
	}
	// What is open stays what it was, whatever its path leads to later.
	f, err := trusted.OpenDir(in("own", "sub"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	was, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(in("own", "sub")), os.Symlink("/etc", in("own", "sub"))); err != nil {
		t.Fatal(err)
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(was, now) {
		t.Errorf("the open directory is another one: %v", err)
	}
}
