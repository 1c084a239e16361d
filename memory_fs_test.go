package veneer_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree/disk"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/test/harness"
)

// fooled builds, lets the source change unseen, and builds again: the second build must find what one does that
// remembers nothing.
func fooled(t *testing.T, src string, changes ...func()) {
	t.Helper()
	e := openEmbedded(t, t.TempDir())
	req := veneer.BuildRequest{
		Base:          "base",
		TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/app"}}},
		ReadOptions:   veneer.ReadOptions{Reader: veneer.ReadIndex},
		ImageOptions:  veneer.ImageOptions{NoUnpack: true, Tags: []string{"next"}},
	}
	var log bytes.Buffer
	req.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: req.Targets}, ReadOptions: veneer.ReadOptions{NoCache: true}, ImageOptions: veneer.ImageOptions{Tags: []string{"base"}, NoUnpack: true}})
	time.Sleep(3100 * time.Millisecond) // Younger files are not remembered.
	if res := mustBuild(t, e, req); !res.Unchanged {
		t.Fatalf("changes %+v", res.Changes)
	}
	saysWhy(t, src, log.String())
	before := digest.Digest("")
	for _, change := range changes {
		change()
		before = sameAsRead(t, e, req, before)
	}
}

// saysWhy: where a source's files are not remembered, the log has the reason, and else none.
func saysWhy(t *testing.T, src, log string) {
	t.Helper()
	l, err := disk.OpenLocal(src)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // only read
	reason := l.Trust().Reason
	if said := strings.Contains(log, "what the source's files hold is not remembered"); said != (reason != "") || !strings.Contains(log, reason) {
		t.Errorf("the reason is %q, and the log is\n%s", reason, log)
	}
}

// sameAsRead builds with and without what is remembered. The layer is another one than before.
func sameAsRead(t *testing.T, e *engine.Engine, req veneer.BuildRequest, before digest.Digest) digest.Digest {
	t.Helper()
	got := mustBuild(t, e, req)
	req.NoCache = true
	want := mustBuild(t, e, req)
	if want.Layer == nil || want.Layer.DiffID == before {
		t.Fatalf("the try changes nothing: %+v", want.Changes)
	}
	if got.Layer == nil || got.Layer.DiffID != want.Layer.DiffID {
		t.Errorf("a change is left out: %+v, want %+v", got.Changes, want.Changes)
	}
	return want.Layer.DiffID
}

// swap exchanges two files' contents as xfs' defragmenter does, times kept.
func swap(t *testing.T, a, b string) {
	t.Helper()
	fa, err := os.OpenFile(a, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fa.Close()
	fb, err := os.OpenFile(b, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fb.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(fa.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	// struct xfs_swapext and the struct xfs_bstat in it, of xfs/xfs_fs.h.
	type bstat struct {
		ino                uint64
		mode, nlink        uint16
		uid, gid, rdev     uint32
		blksize            int32
		size               int64
		atime, mtime, ctim [2]int64
		blocks             int64
		xflags             uint32
		extsize, extents   int32
		gen                uint32
		projidLo, forkoff  uint16
		projidHi           uint16
		pad                [6]byte
		cowextsize         uint32
		dmevmask           uint32
		dmstate, aextents  uint16
	}
	sx := struct {
		version, target, tmp, offset, length int64
		pad                                  [16]byte
		stat                                 bstat
	}{target: int64(fa.Fd()), tmp: int64(fb.Fd()), length: st.Size}
	sx.stat.ino, sx.stat.size = st.Ino, st.Size
	sx.stat.mtime, sx.stat.ctim = [2]int64{st.Mtim.Sec, st.Mtim.Nsec}, [2]int64{st.Ctim.Sec, st.Ctim.Nsec}
	request := uintptr(3)<<30 | unsafe.Sizeof(sx)<<16 | 'X'<<8 | 109 // XFS_IOC_SWAPEXT, _IOWR
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fa.Fd(), request, uintptr(unsafe.Pointer(&sx))); errno != 0 {
		t.Skipf("this kernel does not swap contents: %v", errno)
	}
}

// onLoop makes a file system in a loop device.
func onLoop(fsType, pkg string) func(*testing.T) string {
	return func(t *testing.T) string {
		return harness.LoopMount(t, fsType, harness.FileSystem(t, fsType, pkg, 512<<20))
	}
}

// sourceFileSystems are those that sources are tried on: what makes each, and returns its directory. Files and names are
// remembered on the one that is called disk, if the machine's disk is a disk.
func sourceFileSystems() map[string]func(*testing.T) string {
	return map[string]func(*testing.T) string{
		"disk": func(t *testing.T) string { return t.TempDir() },
		"ext4": onLoop("ext4", "e2fsprogs"), "xfs": onLoop("xfs", "xfsprogs"), "btrfs": onLoop("btrfs", "btrfs-progs"),
		"tmpfs": func(t *testing.T) string { return mounted(t, "tmpfs", "") },
		"overlay": func(t *testing.T) string {
			dir := onLoop("ext4", "e2fsprogs")(t)
			for _, sub := range []string{"l", "u", "w"} {
				if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			return mounted(t, "overlay", fmt.Sprintf("lowerdir=%[1]s/l,upperdir=%[1]s/u,workdir=%[1]s/w", dir))
		},
	}
}

// TestSourcesThatChangeUnseen tries, on each file system, to change a file so that nothing but its content tells, and then
// names of directories.
func TestSourcesThatChangeUnseen(t *testing.T) {
	for name, where := range sourceFileSystems() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(where(t), "src")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, dir, "f", string(make([]byte, 8192)))
			f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			mapped, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Munmap(mapped)
			mapped[100] = 'A'
			names := nameChanges()
			withNames(t, dir, names)
			fooled(t, dir, func() { mapped[100] = 'B' }, func() { changeNames(t, dir, names) })
		})
	}
	t.Run("xfs, contents swapped", func(t *testing.T) {
		t.Parallel()
		mnt := onLoop("xfs", "xfsprogs")(t)
		dir := filepath.Join(mnt, "src")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		other := make([]byte, 65536)
		write(t, dir, "f", string(other))
		other[0] = 'B'
		write(t, mnt, "other", string(other))
		fooled(t, dir, func() { swap(t, filepath.Join(dir, "f"), filepath.Join(mnt, "other")) })
	})
}

// TestOthersChangeUnseen: root builds from another user's directory, on a disk, where extents of the file move away.
func TestOthersChangeUnseen(t *testing.T) {
	harness.RequireRoot(t)
	t.Setenv("SUDO_UID", "")
	top := t.TempDir()
	src := filepath.Join(top, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"src/f", "other"} {
		write(t, top, name, string(bytes.Repeat([]byte("A"), 4*4096)))
	}
	if err := os.Chown(filepath.Join(src, "f"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	fooled(t, src, func() { harness.MoveExtents(t, filepath.Join(top, "other"), filepath.Join(src, "f")) })
}

func mounted(t *testing.T, fsType, data string) string {
	t.Helper()
	harness.RequireRoot(t)
	dir := t.TempDir()
	if err := unix.Mount(fsType, dir, fsType, 0, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestImagesInOneDevice: images of a file system, whose files and directories have the same inodes and times, are mounted
// in turn. One has other bytes in a file, one has another name in a directory beside the first, and one that alone.
func TestImagesInOneDevice(t *testing.T) {
	harness.RequireRoot(t)
	image := harness.FileSystem(t, "ext4", "e2fsprogs", 64<<20)
	dir := t.TempDir()
	run := func(program string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v: %s", program, args, err, out)
		}
	}
	mount := func(options string) {
		t.Helper()
		run("mount", "-o", options, image, dir)
	}
	// A process of another test, in a mount namespace of its own, may have a copy of the mount. The device, which has
	// what the file held, is free when that ends.
	unmount := func() {
		t.Helper()
		run("umount", dir)
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			left, err := exec.CommandContext(t.Context(), "losetup", "--associated", image).Output()
			if err == nil && len(left) == 0 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("still mounted somewhere: %s %v", left, err)
			}
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // Where the test ends early.
	src := filepath.Join(dir, "src")
	mount("loop")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, src, "f", "version=1.0.0 bug=yes")
	write(t, src, "sub/name", "")
	unmount()
	read := func() []byte {
		t.Helper()
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	data := read()
	bytesDiffer := bytes.ReplaceAll(data, []byte("version=1.0.0 bug=yes"), []byte("version=1.0.1 bug=no!"))
	if bytes.Equal(bytesDiffer, data) {
		t.Fatal("the image does not have the file")
	}
	var namesDiffer [2][]byte
	for i, request := range []string{"link /src/sub/name /src/sub/other", "unlink /src/sub/name"} { // which sets no times
		run("debugfs", "-w", "-R", request, image)
		namesDiffer[i] = read()
	}
	for _, options := range []string{"loop,ro", "loop"} {
		use := func(data []byte) func() {
			return func() {
				if err := os.WriteFile(image, data, 0o600); err != nil {
					t.Fatal(err)
				}
				mount(options)
			}
		}
		use(data)()
		instead := func(data []byte) func() { return func() { unmount(); use(data)() } }
		fooled(t, src, instead(bytesDiffer), instead(namesDiffer[0]), instead(namesDiffer[1]))
		unmount()
	}
}
