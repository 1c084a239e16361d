package filecache_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/differ/tree/filecache"
	"github.com/veneer-build/veneer/test/harness"
)

// entry opens the only file of a directory and says what it is.
func entry(t *testing.T, dir string) (tree.Entry, tree.File) {
	t.Helper()
	l, err := disk.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, d, err := l.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := d.Entries(t.Context())
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	f, err := d.Open(entries[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.Close()
		_ = d.Close()
		_ = l.Close()
	})
	return entries[0], f
}

// TestSettledFileMovesItsTimes: after Settle, a store through a mapping that was written to before, without a fault in
// between, gives the file other times, so that nothing is remembered of what it was.
func TestSettledFileMovesItsTimes(t *testing.T) {
	for fsType, pkg := range map[string]string{"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"} {
		t.Run(fsType, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(harness.LoopMount(t, fsType, harness.FileSystem(t, fsType, pkg, 512<<20)), "src")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(make([]byte, 3*4096)); err != nil {
				t.Fatal(err)
			}
			mapped, err := unix.Mmap(int(f.Fd()), 0, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Munmap(mapped)
			mapped[5000] = 'A'
			time.Sleep(3100 * time.Millisecond) // Younger files are not remembered.
			e, file := entry(t, dir)
			m := filecache.New()
			if !m.Settle(file, &e) {
				t.Fatal("a file at rest cannot be settled")
			}
			data, err := io.ReadAll(file)
			if err != nil || data[5000] != 'A' {
				t.Fatalf("read %v", err)
			}
			m.AddDigest(&e, tree.Digest{1})
			if !m.Digest(&e).Known() {
				t.Fatal("not remembered")
			}
			mapped[5000] = 'B'
			if now, _ := entry(t, dir); now.Stamp == e.Stamp || m.Digest(&now).Known() {
				t.Errorf("a store left the stamp as it was: %+v", now.Stamp)
			}
		})
	}
}

// TestManyYoungFilesAreSettledAtOnce by a flush of their file system, which is as good.
func TestManyYoungFilesAreSettledAtOnce(t *testing.T) {
	dir := filepath.Join(harness.LoopMount(t, "ext4", harness.FileSystem(t, "ext4", "e2fsprogs", 64<<20)), "src")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	mapped[0] = 'A'
	time.Sleep(3100 * time.Millisecond)
	e, file := entry(t, dir)
	m := filecache.New()
	for range 200 {
		if !m.Settle(file, &e) {
			t.Fatal("a file at rest cannot be settled")
		}
	}
	mapped[0] = 'B'
	now, file := entry(t, dir)
	if now.Stamp == e.Stamp {
		t.Errorf("a store left the stamp as it was: %+v", now.Stamp)
	}
	// What changed since is not covered by the flush, also when it is old enough.
	time.Sleep(3100 * time.Millisecond)
	if m.Settle(file, &now) {
		t.Error("a flush is taken to cover what came after it")
	}
}

// TestTrust says of what kinds of file systems nothing is remembered, and why.
func TestTrust(t *testing.T) {
	loop := func(fsType, pkg string) func(*testing.T) string {
		return func(t *testing.T) string {
			return harness.LoopMount(t, fsType, harness.FileSystem(t, fsType, pkg, 512<<20))
		}
	}
	mount := func(source, fsType string, flags uintptr, data string) func(*testing.T) string {
		return func(t *testing.T) string {
			harness.RequireRoot(t)
			dir := t.TempDir()
			if source == "" {
				source = t.TempDir()
			}
			if strings.Contains(data, "@") {
				data = strings.ReplaceAll(data, "@", t.TempDir())
			}
			if err := unix.Mount(source, dir, fsType, flags, data); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			if flags&unix.MS_BIND != 0 {
				if err := unix.Mount("", dir, "", flags|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
					t.Fatal(err)
				}
			}
			return dir
		}
	}
	for name, c := range map[string]struct {
		dir  func(*testing.T) string
		want string
	}{
		"ext4 of a loop device":  {loop("ext4", "e2fsprogs"), "is no disk that only this"},
		"btrfs of a loop device": {loop("btrfs", "btrfs-progs"), "is no disk that only this"},
		"xfs of a loop device":   {loop("xfs", "xfsprogs"), "is no disk that only this"},
		"tmpfs":                  {mount("tmpfs", "tmpfs", 0, ""), "tmpfs does not tell"},
		"ramfs":                  {mount("ramfs", "ramfs", 0, ""), "of type 0x858458f6"},
		"overlay":                {mount("overlay", "overlay", 0, "lowerdir=@:/usr"), ""},
		"read-only":              {mount("", "", unix.MS_BIND, ""), "mounted read-only"},
		"proc":                   {func(*testing.T) string { return "/proc/self" }, "of type 0x9fa0"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := disk.OpenLocal(c.dir(t))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close() // only read
			trust := l.Trust()
			if trust.Mounting != "" || trust.Content || trust.Reason == "" || !strings.Contains(trust.Reason, c.want) {
				t.Errorf("trusted: %+v, want nothing, since %q", trust, c.want)
			}
		})
	}
}

// TestMountingsAreTold apart: the same image in the same device, mounted again, is another one.
func TestMountingsAreTold(t *testing.T) {
	harness.RequireRoot(t)
	for fsType, pkg := range map[string]string{"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"} {
		t.Run(fsType, func(t *testing.T) {
			image := harness.FileSystem(t, fsType, pkg, 512<<20)
			harness.Check(t, harness.KernelKnows(fsType))
			dir := t.TempDir()
			seen := map[string]bool{}
			for range 3 {
				if out, err := exec.CommandContext(t.Context(), "mount", "-t", fsType, "-o", "loop", image, dir).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				for range 2 { // The same answer for as long as it is mounted.
					name, err := filecache.MountingOf(dir)
					if err != nil {
						t.Error(err)
					}
					seen[name] = true
				}
				if out, err := exec.CommandContext(t.Context(), "umount", dir).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if len(seen) != 3 {
				t.Errorf("three mountings are %v", seen)
			}
		})
	}
}
