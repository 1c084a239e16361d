package e2e

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// TestRootDirectory: the root directory of what is built has the mode, the owner and the attributes of the base's, on
// every snapshotter that can be mounted and however it is unpacked; neither the umask nor the source's own directory,
// nor an entry for the root in the base's layer, gives it others. Its time is that of its unpacking, for containerd as well.
func TestRootDirectory(t *testing.T) {
	harness.RequireRoot(t)
	for _, snapshotter := range harness.Snapshotters() {
		t.Run("embedded "+snapshotter, func(t *testing.T) { newPlace(t, nil, snapshotter).keepsRootDirectory(t) })
	}
	for _, c := range snapshotterCases() {
		for i, kind := range c.kinds {
			if c.views && (i == 0 || soak()) {
				t.Run(c.name+" of "+string(kind), func(t *testing.T) {
					newPlace(t, harness.StartWith(t, kind, c.settings(t)), c.snapshotter).keepsRootDirectory(t)
				})
			}
		}
	}
}

func (p *place) keepsRootDirectory(t *testing.T) {
	before := unix.Umask(0o077)
	defer unix.Umask(before)
	layer := tarFile(t,
		&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711, Uid: 7, Gid: 8, ModTime: treeTime, PAXRecords: map[string]string{"SCHILY.xattr.user.note": "root"}},
		&tar.Header{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o755, ModTime: treeTime},
	)
	archive := filepath.Join(t.TempDir(), "base.tar")
	must(t, harness.WriteImage(archive, harness.Image{Layers: []string{layer}}))
	p.load(t, archive, "base:1")

	src := filepath.Join(t.TempDir(), "src")
	write(t, filepath.Join(src, "dir/new"), "new\n")
	must(t, os.Chmod(src, 0o700), os.Lchown(src, 1000, 1001), unix.Setxattr(src, "user.note", []byte("source"), 0))
	differs := []veneer.DifferKind{""}
	if p.daemon != nil {
		differs = append(differs, veneer.DifferService)
	}
	for _, kind := range differs {
		req := veneer.BuildRequest{Base: "base:1", Differ: kind, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/", Owner: "source"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}}}
		res := p.build(t, req)
		base, err := content.Resolve(p.ctx, p.engine.Client, "base:1", "")
		must(t, err)
		want := p.rootDirectory(t, base.ChainID)
		// That of every image: containerd passes over a layer's entry for it.
		if got := p.rootDirectory(t, res.ChainID); got != want || want != "040000 mode=0755 owner=0:0" {
			t.Errorf("%s: the root directory is %s, the base's %s", kind, got, want)
		}
	}
}

// rootDirectory describes the root directory of a chain's snapshot.
func (p *place) rootDirectory(t *testing.T, chain digest.Digest) string {
	t.Helper()
	// A view lies in a directory of its own.
	for name, line := range p.describe(t, chain, "..", false) {
		if filepath.Dir(name) == "." {
			return line
		}
	}
	return ""
}
