package filecache_test

import (
	"bytes"
	"errors"
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

// TestSettledFileMovesItsTimes: of a file that is open for writing, and so may be mapped or in the middle of a write,
// nothing is remembered; once it is closed, the next store through a new mapping gives it other times.
func TestSettledFileMovesItsTimes(t *testing.T) {
	for fsType, pkg := range map[string]string{"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"} {
		t.Run(fsType, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(harness.LoopMount(t, fsType, harness.FileSystem(t, fsType, pkg, 512<<20)), "src")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			mapped, unmap := mapFile(t, filepath.Join(dir, "f"))
			mapped[5000] = 'A'
			time.Sleep(3100 * time.Millisecond) // Younger files are not remembered.
			m := filecache.New()
			if e, file := entry(t, dir); m.Settle(file, &e) {
				t.Fatal("a file that is mapped can be settled")
			}
			unmap()
			e, file := entry(t, dir)
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
			mapped, unmap = mapFile(t, filepath.Join(dir, "f"))
			defer unmap()
			mapped[5000] = 'B'
			if now, _ := entry(t, dir); now.Stamp == e.Stamp || m.Digest(&now).Known() {
				t.Errorf("a store left the stamp as it was: %+v", now.Stamp)
			}
		})
	}
}

// mapFile maps three pages of a file, which it makes if need be. What it opened is closed: the mapping alone keeps it
// open.
func mapFile(t *testing.T, name string) (mapped []byte, unmap func()) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(3 * 4096); err != nil {
		t.Fatal(err)
	}
	if mapped, err = unix.Mmap(int(f.Fd()), 0, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	return mapped, func() {
		if err := unix.Munmap(mapped); err != nil {
			t.Error(err)
		}
	}
}

// TestFilesOfOthersAreNotSettled, since who may write to a file can change it with its times kept.
func TestFilesOfOthersAreNotSettled(t *testing.T) {
	harness.RequireRoot(t)
	for name, c := range map[string]struct {
		uid, gid int
		mode     os.FileMode
		sudo     string
		acl      bool
		want     bool
	}{
		"root's":                   {0, 0, 0o644, "", false, true},
		"root's of any group":      {0, 12345, 0o644, "", false, true},
		"another's":                {12345, 12345, 0o644, "", false, false},
		"another's, read-only":     {12345, 12345, 0o444, "", false, false},
		"the user's of sudo":       {12345, 12345, 0o644, "12345", false, true},
		"another than sudo's":      {12346, 12345, 0o644, "12345", false, false},
		"sudo by no number":        {12345, 12345, 0o644, "x", false, false},
		"root's, a group may":      {0, 12345, 0o664, "", false, false},
		"root's, all may":          {0, 0, 0o646, "", false, false},
		"root's, an ACL says more": {0, 0, 0o644, "", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SUDO_UID", c.sudo)
			dir := t.TempDir()
			file := filepath.Join(dir, "f")
			if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Chown(file, c.uid, c.gid), os.Chmod(file, c.mode)); err != nil {
				t.Fatal(err)
			}
			if c.acl { // user::rw-,user:12345:rw-,group::r--,mask::rw-,other::r--
				acl := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\x39\x30\x00\x00" +
					"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
				if err := unix.Setxattr(file, "system.posix_acl_access", []byte(acl), 0); err != nil {
					t.Skipf("no ACLs here: %v", err)
				}
			}
			time.Sleep(3100 * time.Millisecond)
			m := filecache.New()
			e, f := entry(t, dir)
			if got := m.Settle(f, &e); got != c.want {
				t.Errorf("settled %t, want %t", got, c.want)
			}
			if foreign, writable := m.Unsettled(); (foreign == 0) != c.want || writable > 0 {
				t.Errorf("counted %d, %d", foreign, writable)
			}
			// The same where the source is the file.
			l, err := disk.OpenLocal(file)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if f, err = l.Open(); err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got := m.Settle(f, &e); got != c.want {
				t.Errorf("as the source itself settled %t, want %t", got, c.want)
			}
		})
	}
}

// TestMovedExtents: a file that another user may write to changes on ext4 and keeps its times. So it must not be
// remembered.
func TestMovedExtents(t *testing.T) {
	mnt := harness.LoopMount(t, "ext4", harness.FileSystem(t, "ext4", "e2fsprogs", 512<<20))
	dir := filepath.Join(mnt, "src")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	donor, other := filepath.Join(dir, "f"), filepath.Join(mnt, "other")
	for _, name := range []string{donor, other} {
		if err := os.WriteFile(name, bytes.Repeat([]byte("A"), 4*4096), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(donor, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	time.Sleep(3100 * time.Millisecond)
	e, f := entry(t, dir)
	if filecache.New().Settle(f, &e) {
		t.Error("it can be settled")
	}
	harness.MoveExtents(t, other, donor)
	now, f := entry(t, dir)
	data, err := io.ReadAll(f)
	if err != nil || now.Stamp != e.Stamp || data[0] == 'A' {
		t.Skipf("the kernel tells of it, or does not do it: %v", err)
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
