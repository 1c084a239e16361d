package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ/layer"
	"github.com/veneer-build/veneer/test/harness"
)

// serviceCase is one change of a tree, and what containerd's diff service makes of it.
type serviceCase struct {
	name string
	// change is made in a copy of the base's tree.
	change func(t *testing.T, dir string)
	// refused: the service cannot store it, and the error says this.
	refused string
	// now: daemons before 2.0 write the time of the build into it, so that the layer is another one with the same files.
	now bool
}

// serviceCases keep the list of what the service cannot express true.
func serviceCases() []serviceCase {
	at := func(dir, name string) string { return filepath.Join(dir, name) }
	xattr := func(name, value string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { must(t, unix.Lsetxattr(at(dir, "d/file"), name, []byte(value), 0)) }
	}
	return []serviceCase{
		{name: "content", change: func(t *testing.T, dir string) { write(t, at(dir, "d/file"), "longer than before\n") }},
		{name: "new files", change: func(t *testing.T, dir string) {
			write(t, at(dir, "new/deep/file"), "new\n")
			must(t, os.Symlink("deep/file", at(dir, "new/link")), os.Link(at(dir, "new/deep/file"), at(dir, "new/hard")), unix.Mkfifo(at(dir, "new/fifo"), 0o640))
		}},
		{name: "mode", change: func(t *testing.T, dir string) { must(t, os.Chmod(at(dir, "d/file"), 0o4711|os.ModeSetuid)) }},
		{name: "owner", change: func(t *testing.T, dir string) { must(t, os.Lchown(at(dir, "d/file"), 1000, 3_000_000_000)) }},
		{name: "capability", change: func(t *testing.T, dir string) {
			xattr("security.capability", "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")(t, dir)
		}},
		{name: "link target", change: func(t *testing.T, dir string) {
			must(t, os.Remove(at(dir, "d/link")), os.Symlink("elsewhere", at(dir, "d/link")))
		}},
		{name: "device", change: func(t *testing.T, dir string) {
			must(t, unix.Mknod(at(dir, "d/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		}},
		{name: "file to directory", change: func(t *testing.T, dir string) {
			must(t, os.Remove(at(dir, "d/file")))
			write(t, at(dir, "d/file/inner"), "inner\n")
		}},
		{name: "deletion", now: true, change: func(t *testing.T, dir string) { must(t, os.Remove(at(dir, "d/other"))) }},
		{name: "deleted directory", now: true, change: func(t *testing.T, dir string) { must(t, os.RemoveAll(at(dir, "d/sub"))) }},

		{name: "directory emptied and filled", now: true, change: func(t *testing.T, dir string) {
			must(t, os.RemoveAll(at(dir, "d/sub")), os.Mkdir(at(dir, "d/sub"), 0o755))
			write(t, at(dir, "d/sub/new"), "new\n")
		}},
		// It reads files of equal size and time, since both times are in whole seconds.
		{name: "content of equal size and time", change: func(t *testing.T, dir string) {
			write(t, at(dir, "d/file"), "FILE\n")
			must(t, os.Chtimes(at(dir, "d/file"), treeTime, treeTime))
		}},
		{name: "a link more to a file", change: func(t *testing.T, dir string) { must(t, os.Link(at(dir, "d/file"), at(dir, "d/again"))) }},

		{name: "user attribute", refused: "user.note", change: xattr("user.note", "n")},
		{name: "ACL", refused: "system.posix_acl_access", change: xattr("system.posix_acl_access", acl)},
	}
}

// acl is the kernel's encoding of an ACL that lets user 1000 read.
const acl = "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"

// treeTime is the time of everything in the base's tree.
var treeTime = time.Unix(1_600_000_000, 0)

func serviceBase(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	for _, name := range []string{"d/file", "d/other", "d/sub/a", "d/sub/b", "untouched/file"} {
		write(t, filepath.Join(dir, name), filepath.Base(name)+"\n")
	}
	must(t, os.Symlink("file", filepath.Join(dir, "d/link")))
	command(t, "find", dir, "-exec", "touch", "-h", "-d", "@1600000000", "{}", "+")
	return dir
}

// TestServiceDiffer builds each change in both orders. The images show the same files, and the layers are the same but
// for what the table says.
func TestServiceDiffer(t *testing.T) {
	harness.RequireRoot(t)
	eachPlace(t, func(t *testing.T, p *place) {
		base := serviceBase(t)
		p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(base)}, ImageOptions: veneer.ImageOptions{Tags: []string{"base:1"}}})
		for _, c := range serviceCases() {
			t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) { p.serviceCase(t, base, c) })
		}
		t.Run("default-ACL", p.serviceDefaultACL)
	})
}

func (p *place) serviceCase(t *testing.T, base string, c serviceCase) {
	target := filepath.Join(t.TempDir(), "target")
	command(t, "cp", "-a", base, target)
	c.change(t, target)
	req := veneer.BuildRequest{Base: "base:1", TargetOptions: veneer.TargetOptions{Targets: exactly(target), ForceDelete: true}, LayerOptions: veneer.LayerOptions{Compression: layer.None}, ImageOptions: veneer.ImageOptions{Tags: []string{"target:veneer"}}}
	ours := p.build(t, req)
	want := describe(t, target, false)
	wantSame(t, "the default order", want, p.describe(t, ours.ChainID, "", false))

	req.Differ, req.Tags = veneer.DifferService, []string{"target:service"}
	if c.refused != "" {
		if _, err := veneer.Build(p.ctx, p.engine, req); err == nil || !strings.Contains(err.Error(), c.refused) {
			t.Errorf("the error does not name %q: %v", c.refused, err)
		}
		return
	}
	theirs := p.build(t, req)
	wantSame(t, "the service's layer", want, describe(t, p.applied(t, theirs.Target), false))
	wantSame(t, "the service's snapshot", want, p.describe(t, theirs.ChainID, "", false))
	old := p.daemon != nil && p.daemon.Kind != harness.Containerd2
	if same := theirs.Layer.DiffID == ours.Layer.DiffID; same == (c.now && old) {
		t.Errorf("the service's diff ID is %s, ours %s", theirs.Layer.DiffID, ours.Layer.DiffID)
	}
}

// serviceDefaultACL: a file that would inherit an ACL from the base's directory is refused too. The files are not
// compared: the native snapshotter copies what it prepares, and in the copy all files inherit it.
func (p *place) serviceDefaultACL(t *testing.T) {
	base := serviceBase(t)
	must(t, unix.Lsetxattr(filepath.Join(base, "d"), "system.posix_acl_default", []byte(acl), 0))
	p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(base)}, ImageOptions: veneer.ImageOptions{Tags: []string{"acl:1"}}})
	write(t, filepath.Join(base, "d/new"), "new\n")
	req := veneer.BuildRequest{Base: "acl:1", Differ: veneer.DifferService, TargetOptions: veneer.TargetOptions{Targets: exactly(base), ForceDelete: true}}
	if _, err := veneer.Build(p.ctx, p.engine, req); err == nil || !strings.Contains(err.Error(), "/d/new: its directory has a default ACL") {
		t.Errorf("the error does not say why: %v", err)
	}
}
