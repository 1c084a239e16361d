package disk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/test/harness"
)

// remembering opens a directory with a cache that trusts its file system, though tests have none but on loop devices.
func remembering(t *testing.T, dir string, m *filecache.Cache) *Local {
	t.Helper()
	l, err := OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	m.Restrict(filecache.Trust{Mounting: "any", Content: true})
	l.cache = m
	return l
}

// names are those of the root.
func (l *Local) names(t *testing.T) string {
	t.Helper()
	_, d, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	entries, err := d.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := ""
	for _, e := range entries {
		list += fmt.Sprint(e.Name, e.IsDir(), e.Link, " ")
	}
	return list
}

func (l *Local) stamp(t *testing.T) tree.Stamp {
	t.Helper()
	e, _, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e.Stamp
}

// TestDirectoriesTellOfNames: on the file systems that are trusted, each change of a directory's names gives it another
// stamp, whose names are not known, and so does another subvolume with the same inodes and times.
func TestDirectoriesTellOfNames(t *testing.T) {
	for fsType, pkg := range map[string]string{"ext4": "e2fsprogs", "btrfs": "btrfs-progs"} {
		t.Run(fsType, func(t *testing.T) {
			t.Parallel()
			mnt := harness.LoopMount(t, fsType, harness.FileSystem(t, fsType, pkg, 512<<20))
			top := mnt
			if fsType == "btrfs" {
				top = filepath.Join(mnt, "sub")
				btrfs(t, "create", top)
			}
			changes := map[string]func(string) error{
				"made":    func(at string) error { return os.WriteFile(filepath.Join(at, "new"), nil, 0o644) },
				"removed": func(at string) error { return os.Remove(filepath.Join(at, "a")) },
				"renamed": func(at string) error { return os.Rename(filepath.Join(at, "a"), filepath.Join(at, "z")) },
				"linked":  func(at string) error { return os.Link(filepath.Join(at, "a"), filepath.Join(at, "z")) },
				"link":    func(at string) error { return os.Symlink("a", filepath.Join(at, "z")) },
				"none":    func(string) error { return nil },
			}
			for name := range changes {
				must(t, os.Mkdir(filepath.Join(top, name), 0o755), os.WriteFile(filepath.Join(top, name, "a"), nil, 0o644))
			}
			time.Sleep(3100 * time.Millisecond) // Younger directories are not remembered.
			for name, change := range changes {
				dir, m := filepath.Join(top, name), filecache.New()
				l := remembering(t, dir, m)
				before, stamp := l.names(t), l.stamp(t)
				if m.Names(stamp) == "" {
					t.Fatalf("%s: the names are not remembered", name)
				}
				old := time.Unix(0, stamp.MTime)
				must(t, change(dir), os.Chtimes(dir, old, old))
				if got := l.names(t); (got == before) != (name == "none") {
					t.Errorf("%s: names %q, and before %q", name, got, before)
				}
				if now := l.stamp(t); name != "none" && now.CTime == stamp.CTime {
					t.Errorf("%s: the stamp stays", name)
				}
			}
			if fsType == "btrfs" {
				snapshots(t, mnt, top)
			}
		})
	}
}

// snapshots have a directory's inode and times in common, and other names: they are made at the same time of the clock.
func snapshots(t *testing.T, mnt, sub string) {
	a, b := filepath.Join(mnt, "a"), filepath.Join(mnt, "b")
	var stamps [2]tree.Stamp
	for try := 0; ; try++ {
		btrfs(t, "snapshot", sub, a)
		btrfs(t, "snapshot", sub, b)
		must(t, os.Mkdir(filepath.Join(a, "none", "x"), 0o755), os.Mkdir(filepath.Join(b, "none", "y"), 0o755))
		for i, dir := range []string{a, b} {
			stamps[i] = remembering(t, filepath.Join(dir, "none"), filecache.New()).stamp(t)
		}
		if stamps[0].CTime == stamps[1].CTime {
			break
		}
		if try == 20 {
			t.Skip("the clock is too fine for two directories at a time")
		}
		btrfs(t, "delete", a)
		btrfs(t, "delete", b)
	}
	if stamps[0].Ino != stamps[1].Ino || stamps[0] == stamps[1] {
		t.Errorf("stamps %+v and %+v are of two subvolumes", stamps[0], stamps[1])
	}
}

func btrfs(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "btrfs", append([]string{"subvolume"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("btrfs subvolume %q: %v: %s", args, err, out)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
