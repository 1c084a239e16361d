package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// TestExport: the tar of an image, unpacked by GNU tar, has the files of the snapshot that containerd unpacked, owners,
// links, devices, attributes and times included, whatever lower layers had. It is the same bytes on each engine. So has
// the directory, and the image that is made of the tar.
func TestExport(t *testing.T) {
	harness.Check(t, harness.Installed("tar", "tar"))
	same, pairs := agreement{}, 1
	if soak() {
		pairs = seeds(t)
	}
	eachPlace(t, func(t *testing.T, p *place) {
		for seed := range pairs {
			base, target := treePair(t, seed)
			name := fmt.Sprintf("export:%d", seed)
			p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(base)}, ImageOptions: veneer.ImageOptions{Tags: []string{"lower:1"}}})
			res := p.build(t, veneer.BuildRequest{Base: "lower:1", TargetOptions: veneer.TargetOptions{Targets: exactly(target), ForceDelete: true}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}})
			file := p.export(t, name)
			same.check(t, fmt.Sprintf("tar %d", seed), fileDigest(t, file))
			want := p.describe(t, res.ChainID, "", true)
			wantSame(t, "by tar", want, describe(t, untar(t, file), true))

			dir := filepath.Join(t.TempDir(), "rootfs")
			done, err := veneer.ExportDir(p.ctx, p.engine, dir, veneer.ExportRequest{Image: name})
			must(t, err)
			wantSame(t, "in a directory", want, describe(t, dir, true))
			if done.Files != int64(len(want)) || done.Digest != res.Digest {
				t.Errorf("exported %+v, %d entries", done, len(want))
			}
			again := p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Type: veneer.SourceTar, Source: file, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"again:1"}}})
			wantSame(t, "imported again", want, p.describe(t, again.ChainID, "", true))
		}
	})
}

// TestExportWithoutLayers: what is unpacked can be exported when its layers' blobs are gone.
func TestExportWithoutLayers(t *testing.T) {
	eachPlace(t, func(t *testing.T, p *place) {
		src := t.TempDir()
		write(t, filepath.Join(src, "d/f"), "f\n")
		must(t, unix.Lsetxattr(filepath.Join(src, "d/f"), "user.a", []byte("b"), 0))
		p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(src)}, ImageOptions: veneer.ImageOptions{Tags: []string{"gone:1"}}})
		want := fileDigest(t, p.export(t, "gone:1"))
		img, err := content.Resolve(p.ctx, p.engine.Client, "gone:1", "")
		must(t, err)
		for _, l := range img.Layers {
			must(t, p.engine.Client.ContentStore().Delete(p.ctx, l.Digest))
		}
		if got := fileDigest(t, p.export(t, "gone:1")); got != want {
			t.Errorf("from the snapshot %s, from the layers %s", got, want)
		}
	})
}

// TestExportDebian: a whole system, against GNU tar.
func TestExportDebian(t *testing.T) {
	harness.Check(t, harness.Installed("tar", "tar"))
	if !soak() {
		t.Skip("SKIP: in the long form only")
	}
	p := embedded(t)
	p.loadDebian(t)
	res := p.build(t, veneer.BuildRequest{Base: "debian:12", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Delete, Dest: "/usr/share/doc"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"less:1"}}})
	wantSame(t, "debian", p.describe(t, res.ChainID, "", true), describe(t, untar(t, p.export(t, "less:1")), true))
}

// TestExportOutside: of an archive, a layout and a registry the bytes are those of the engine, and nothing is kept.
func TestExportOutside(t *testing.T) {
	r := harness.NewRegistry(t)
	p := embedded(t)
	p.load(t, smallArchive(t), "small:1")
	want := fileDigest(t, p.export(t, "small:1"))
	archive := filepath.Join(t.TempDir(), "small.tar")
	root := []string{"--engine", "embedded", "--root", p.engine.Root}
	output(t, cli(t, append(root, "save", "small:1", "-o", archive)...))
	name := r.Addr() + "/small:1"
	crane, err := harness.Crane()
	harness.Check(t, err)
	if out, err := exec.CommandContext(t.Context(), crane, "push", harness.Extract(t, archive), name).CombinedOutput(); err != nil {
		t.Fatalf("crane: %v: %s", err, out)
	}
	for _, ref := range []string{"archive:" + archive, "oci:" + harness.Extract(t, archive), "registry:" + name, "docker://" + name} {
		cmd := cli(t, "--engine", "embedded", "--root", filepath.Join(t.TempDir(), "root"), "export", ref)
		if got := digest.FromString(output(t, cmd)).String(); got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
}

// TestExportPlaces: a directory must be empty or absent, a file system mounted there is filled, and after an error
// nothing is left.
func TestExportPlaces(t *testing.T) {
	p := embedded(t)
	p.load(t, smallArchive(t), "small:1")
	dir := t.TempDir()
	full, mounted := filepath.Join(dir, "full"), filepath.Join(dir, "mounted")
	write(t, filepath.Join(full, "f"), "f")
	must(t, os.Mkdir(mounted, 0o755), os.Mkdir(filepath.Join(dir, "empty"), 0o700), os.Symlink("empty", filepath.Join(dir, "link")))
	must(t, unix.Mount("tmpfs", mounted, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(mounted, 0)) })
	to := func(dir, image string) error {
		_, err := veneer.ExportDir(p.ctx, p.engine, dir, veneer.ExportRequest{Image: image})
		return err
	}
	wantKind(t, to(full, "small:1"), veneer.ErrNotEmpty, full)
	wantKind(t, to(filepath.Join(dir, "absent"), "none:1"), veneer.ErrNoImage, "")
	if err := to(filepath.Join(full, "f"), "small:1"); err == nil {
		t.Error("a file was taken for a directory")
	}
	damaged := filepath.Join(t.TempDir(), "root")
	for _, to := range []string{filepath.Join(dir, "new"), mounted} {
		p.damageLayer(t, damaged, to)
	}
	must(t, to(mounted, "small:1"), to(filepath.Join(dir, "link"), "small:1"))
	for _, at := range []string{mounted, filepath.Join(dir, "empty")} {
		if data, err := os.ReadFile(filepath.Join(at, "etc/hello")); err != nil || string(data) != "hello\n" {
			t.Errorf("%s: %q, %v", at, data, err)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 4 {
		t.Errorf("left %v, %v", list, err)
	}
}

// damageLayer exports an image whose layer's blob is damaged, and wants nothing to be left.
func (p *place) damageLayer(t *testing.T, root, to string) {
	t.Helper()
	b := filepath.Join(root, digest.FromString(to).Encoded()[:8])
	q := *p
	e, err := veneer.Open(p.ctx, veneer.EngineOptions{Mode: veneer.EngineEmbedded, Root: b, Snapshotter: "overlayfs"})
	must(t, err)
	defer func() { must(t, e.Close()) }()
	q.engine, q.ctx = e, e.Context(t.Context())
	src := t.TempDir()
	write(t, filepath.Join(src, "a"), "a")
	write(t, filepath.Join(src, "b"), strings.Repeat("b", 4<<20))
	q.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(src)}, LayerOptions: veneer.LayerOptions{Compression: veneer.Uncompressed}, ImageOptions: veneer.ImageOptions{Tags: []string{"bad:1"}}})
	img, err := content.Resolve(q.ctx, e.Client, "bad:1", "")
	must(t, err)
	_, err = veneer.Export(q.ctx, e, io.Discard, veneer.ExportRequest{Image: "bad:1"}) // Its index is known from now on.
	must(t, err)
	var blob string
	must(t, filepath.WalkDir(b, func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == img.Layers[0].Digest.Encoded() {
			blob = path
		}
		return err
	}))
	data, err := os.ReadFile(blob)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.Chmod(blob, 0o644), os.WriteFile(blob, data, 0o644))
	_, err = veneer.ExportDir(q.ctx, e, to, veneer.ExportRequest{Image: "bad:1"})
	if err == nil {
		t.Errorf("%s: a damaged layer was exported", to)
	}
	if list, err := os.ReadDir(to); err == nil && len(list) > 0 {
		t.Errorf("%s: left %v", to, list)
	}
}

// export exports an image to a file.
func (p *place) export(t *testing.T, image string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "rootfs.tar"))
	must(t, err)
	_, err = veneer.Export(p.ctx, p.engine, f, veneer.ExportRequest{Image: image})
	must(t, err, f.Close())
	return f.Name()
}

// untar unpacks a tar by GNU tar, which is told to restore everything.
func untar(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "tar", "-x", "-f", file, "-C", dir, "--numeric-owner", "--same-owner", "-p", "--xattrs", "--xattrs-include=*")
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return dir
}

func fileDigest(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	d, err := digest.FromReader(f)
	must(t, err)
	return d.String()
}

// wantKind fails the test unless an error is of a kind, and about a path.
func wantKind(t *testing.T, err, kind error, path string) {
	t.Helper()
	all := veneer.Errors(err)
	if !errors.Is(err, kind) || len(all) == 0 || all[0].Path != path {
		t.Errorf("got %v, want %v about %q", err, kind, path)
	}
}
