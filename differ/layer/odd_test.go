package layer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer/differ"
)

// TestEveryByteInNames: a file's name is bytes, and so is a link's target.
func TestEveryByteInNames(t *testing.T) {
	requireRoot(t)
	src := t.TempDir()
	for b := 1; b < 256; b++ {
		c := string([]byte{byte(b)})
		if c == "/" {
			continue
		}
		must(t, errors.Join(os.WriteFile(filepath.Join(src, "x"+c), []byte(c), 0o644), os.Symlink("/"+c, filepath.Join(src, c+"link"))))
	}
	checkApplied(t, src)
}

// TestLinksOfSpecialFiles: a second name of a symbolic link, a fifo or a device is one, and not another file.
func TestLinksOfSpecialFiles(t *testing.T) {
	requireRoot(t)
	src := t.TempDir()
	at := func(name string) string { return filepath.Join(src, name) }
	must(t, errors.Join(os.Symlink("/etc/passwd", at("link")), unix.Mkfifo(at("fifo"), 0o600), unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))))
	for _, name := range []string{"link", "fifo", "null"} {
		must(t, os.Link(at(name), at(name+"2")))
	}
	checkApplied(t, src)
}

// TestHostAttributesStayOut: what this host, or an overlay file system on it, notes at a file is in no layer.
func TestHostAttributesStayOut(t *testing.T) {
	requireRoot(t)
	src := t.TempDir()
	p := filepath.Join(src, "file")
	must(t, os.WriteFile(p, []byte("x"), 0o644))
	set := 0
	for _, name := range []string{"trusted.overlay.origin", "trusted.overlay.opaque", "trusted.overlay.metacopy", "user.overlay.redirect", "trusted.x", "security.selinux", "security.SMACK64", "user.kept"} {
		if err := unix.Lsetxattr(p, name, []byte("LEAK"), 0); err == nil {
			set++
		}
	}
	if set < 4 {
		t.Skipf("only %d attributes can be set here", set)
	}
	h := entries(t, writeLayer(t, t.TempDir(), exactly(t, src)))["file"]
	if len(h.PAXRecords) != 1 || h.PAXRecords["SCHILY.xattr.user.kept"] != "LEAK" {
		t.Errorf("records %q", h.PAXRecords)
	}
}

// TestWhiteoutDevice: what overlayfs takes for a deletion is refused, and named, before anything is written.
func TestWhiteoutDevice(t *testing.T) {
	requireRoot(t)
	src := t.TempDir()
	must(t, unix.Mknod(filepath.Join(src, "zero"), unix.S_IFCHR|0o600, 0))
	c, err := differ.NewChanges(t.Context(), mustOpen(t, t.TempDir()))
	must(t, err)
	err = c.Apply(t.Context(), exactly(t, src), differ.Options{})
	if says := `"zero" is a character device 0:0`; err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%v, want %q", err, says)
	}
}

// TestRootKeepsTheBase: a source's own directory, which may be private to its owner, is not the image's root.
func TestRootKeepsTheBase(t *testing.T) {
	src := t.TempDir()
	must(t, errors.Join(os.Chmod(src, 0o700), os.WriteFile(filepath.Join(src, "f"), nil, 0o644)))
	got := entries(t, writeLayer(t, t.TempDir(), exactly(t, src)))
	if len(got) != 1 || got["f"] == nil {
		t.Errorf("entries %v", got)
	}
}

// TestSameInodeOnTwoDevices: files of two file systems under one root, as an overlay shows them, may have the same inode
// number. They are not one file.
func TestSameInodeOnTwoDevices(t *testing.T) {
	requireRoot(t)
	lowers, merged := []string{t.TempDir(), t.TempDir()}, t.TempDir()
	mounted := func(dir, typ, options string) {
		if err := unix.Mount("veneer-test", dir, typ, 0, options); err != nil {
			t.Skipf("%s cannot be mounted: %v", typ, err)
		}
		t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	}
	inodes := map[uint64]bool{}
	for i, dir := range lowers {
		mounted(dir, "tmpfs", "size=1m")
		p := filepath.Join(dir, fmt.Sprint("a", i))
		must(t, errors.Join(os.WriteFile(p, []byte(fmt.Sprint("content ", i)), 0o644), os.Link(p, p+"2")))
		var st unix.Stat_t
		must(t, unix.Lstat(p, &st))
		inodes[st.Ino] = true
	}
	if len(inodes) != 1 {
		t.Skipf("the inode numbers differ: %v", inodes)
	}
	mounted(merged, "overlay", "xino=off,lowerdir="+strings.Join(lowers, ":"))
	checkApplied(t, merged)
}
