package veneer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// nameChanges change what a directory's names are, or mean. Each gets a directory with the files a and b and the link l;
// beside it are "none", which has the same names, and "spare".
func nameChanges() map[string]func(at string) error {
	beside := func(at string, name ...string) string {
		return filepath.Join(append([]string{filepath.Dir(at)}, name...)...)
	}
	return map[string]func(at string) error{
		"add":     func(at string) error { return os.WriteFile(filepath.Join(at, "new"), nil, 0o644) },
		"remove":  func(at string) error { return os.Remove(filepath.Join(at, "a")) },
		"rename":  func(at string) error { return os.Rename(filepath.Join(at, "a"), filepath.Join(at, "c")) },
		"link":    func(at string) error { return os.Link(filepath.Join(at, "a"), filepath.Join(at, "c")) },
		"symlink": func(at string) error { return os.Symlink("a", filepath.Join(at, "c")) },
		"mkdir":   func(at string) error { return os.Mkdir(filepath.Join(at, "c"), 0o755) },
		"emptied": func(at string) error {
			return errors.Join(os.Remove(filepath.Join(at, "a")), os.Remove(filepath.Join(at, "b")), os.Remove(filepath.Join(at, "l")))
		},
		"turned": func(at string) error { // into a directory, with a name of its own
			return errors.Join(os.Remove(filepath.Join(at, "a")), os.Mkdir(filepath.Join(at, "a"), 0o755), os.WriteFile(filepath.Join(at, "a", "a"), nil, 0o644))
		},
		"link swapped": func(at string) error {
			return errors.Join(os.Symlink("b", filepath.Join(at, "m")), os.Rename(filepath.Join(at, "m"), filepath.Join(at, "l")))
		},
		"exchanged": func(at string) error {
			return unix.Renameat2(-1, filepath.Join(at, "a"), -1, beside(at, "none", "a"), unix.RENAME_EXCHANGE)
		},
		"moved in": func(at string) error { return os.Rename(beside(at, "none", "b"), filepath.Join(at, "c")) },
		"another": func(at string) error {
			return errors.Join(os.Rename(at, at+"-old"), os.Rename(beside(at, "spare"), at))
		},
		"none": func(string) error { return nil },
	}
}

// withNames fills a source for nameChanges.
func withNames(t *testing.T, src string, changes map[string]func(string) error) {
	t.Helper()
	for name := range changes {
		write(t, src, name+"/a", "a of "+name)
		write(t, src, name+"/b", "b of "+name)
		if err := os.Symlink("a", filepath.Join(src, name, "l")); err != nil {
			t.Fatal(err)
		}
	}
	write(t, src, "spare/s", "")
}

// changeNames changes the directories, and sets their times of modification back.
func changeNames(t *testing.T, src string, changes map[string]func(string) error) {
	t.Helper()
	for name, change := range changes {
		at := filepath.Join(src, name)
		before, err := os.Stat(at)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(change(at), os.Chtimes(at, before.ModTime(), before.ModTime())); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
	}
}

// namesAreSeen builds from a source, changes it, and builds again: the second build is one that remembers nothing, or
// fails as that does.
func namesAreSeen(t *testing.T, src string, changes ...func()) {
	t.Helper()
	e := openEmbedded(t, t.TempDir())
	req := veneer.BuildRequest{
		Base:          "scratch",
		TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/app"}}},
		ImageOptions:  veneer.ImageOptions{NoUnpack: true, Tags: []string{"names"}},
	}
	time.Sleep(3100 * time.Millisecond) // Younger directories are not remembered.
	before := layerOf(t, e, req)
	for _, change := range changes {
		change()
		got := layerOf(t, e, req)
		fresh := req
		fresh.NoCache = true
		want := layerOf(t, e, fresh)
		if got != want {
			t.Errorf("built\n%s\nwant\n%s", got, want)
		}
		if want == before {
			t.Errorf("the try changes nothing: %s", want)
		}
		before = want
	}
}

// layerOf is the layer of a build, or its error.
func layerOf(t *testing.T, e *engine.Engine, req veneer.BuildRequest) string {
	t.Helper()
	res, err := veneer.Build(t.Context(), e, req)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(res.Layer.DiffID, res.Warnings)
}

// TestNamesAreNeverBelievedWrongly: names come and go in directories whose names are remembered. (TestSourcesThatChangeUnseen
// has the same on other file systems.)
func TestNamesAreNeverBelievedWrongly(t *testing.T) {
	src, changes := t.TempDir(), nameChanges()
	withNames(t, src, changes)
	namesAreSeen(t, src, func() { changeNames(t, src, changes) })
}

// mountedOver are mounts over what is remembered of a source, and their ends: of another file system, and of directories
// and files of the same one.
func mountedOver(t *testing.T, src, other string) []func() {
	var all []func()
	over := func(from, at, fsType string, flags uintptr) {
		at = filepath.Join(src, at)
		all = append(all, func() {
			if err := unix.Mount(from, at, fsType, flags, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) }) // where the test ends early
		}, func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Fatal(err)
			}
		})
	}
	over(filepath.Join(other, "d"), "d", "", unix.MS_BIND)
	over("tmpfs", "e", "tmpfs", 0)
	over(filepath.Join(other, "f"), "f", "", unix.MS_BIND)
	over(filepath.Join(src, "e", "a"), "f", "", unix.MS_BIND)
	over(other, ".", "", unix.MS_BIND)
	over("tmpfs", ".", "tmpfs", 0)
	return all
}

// TestNamesBelowMounts: what is mounted over a part of a source is seen, and so is what was there when it is gone again.
func TestNamesBelowMounts(t *testing.T) {
	harness.RequireRoot(t)
	top := t.TempDir()
	src, other := filepath.Join(top, "src"), filepath.Join(top, "other")
	for _, dir := range []string{src, other} {
		write(t, dir, "d/a", "a")
		write(t, dir, "e/a", "a")
		write(t, dir, "f", "of "+filepath.Base(dir))
	}
	write(t, src, "d/b", "b")
	write(t, other, "d/c", "c")
	namesAreSeen(t, src, mountedOver(t, src, other)...)
}
