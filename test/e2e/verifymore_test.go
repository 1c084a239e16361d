package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/test/harness"
)

// tarFile writes a layer.
func tarFile(t *testing.T, headers ...*tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Format = tar.FormatPAX
		must(t, w.WriteHeader(h))
	}
	must(t, w.Close())
	name := filepath.Join(t.TempDir(), "layer.tar")
	must(t, os.WriteFile(name, b.Bytes(), 0o600))
	return name
}

// posixACL encodes an ACL as the kernel has it: owner, user 1000, group, mask, others.
func posixACL(perms [5]byte) string {
	acl := []byte{2, 0, 0, 0}
	for i, tag := range []byte{0x01, 0x02, 0x04, 0x10, 0x20} {
		id := []byte{0xff, 0xff, 0xff, 0xff}
		if tag == 0x02 {
			id = []byte{0xe8, 0x03, 0, 0}
		}
		acl = append(append(acl, tag, 0, perms[i], 0), id...)
	}
	return string(acl)
}

// TestVerifyAppliers: what containerd's two appliers leave of a directory's attributes, of default ACLs, of whiteouts and of
// implied directories differs, and all of it is as it should be: that the two differ is the one warning.
func TestVerifyAppliers(t *testing.T) {
	harness.RequireRoot(t)
	const xattr, acl = "SCHILY.xattr.user.", "SCHILY.xattr.system.posix_acl_"
	dir := func(name string, pax map[string]string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, PAXRecords: pax}
	}
	file := func(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o640} }
	archive := filepath.Join(t.TempDir(), "image.tar")
	must(t, harness.WriteImage(archive, harness.Image{Name: "docker.io/library/odd:1", Layers: []string{
		tarFile(t, dir("kept/", map[string]string{xattr + "a": "1"}), dir("again/", map[string]string{xattr + "a": "1"}), file("again/file"),
			dir("acl/", map[string]string{acl + "default": posixACL([5]byte{7, 7, 5, 7, 5})}), file("acl/first"),
			file("gone/a/b"), file("gone/c"), file("implied/deep/file")),
		tarFile(t, file("kept/new"), dir("again/", map[string]string{xattr + "b": "2"}), file("acl/second"), dir("acl/sub/", nil),
			file("gone/a/.wh..wh..opq"), file("gone/.wh.c"), file("implied/deep/another"),
			&tar.Header{Typeflag: tar.TypeLink, Name: "again/link", Linkname: "kept/new"}),
		tarFile(t, dir("kept/", nil), file("again/third")),
	}}))
	eachPlace(t, func(t *testing.T, p *place) {
		p.load(t, archive)
		img, err := content.Resolve(p.ctx, p.engine.Client, "odd:1", "")
		must(t, err)
		_, err = snapshot.Unpacker{Client: p.engine.Client, Snapshotter: p.engine.Snapshotter, Host: p.engine, Steps: progress.New(nil)}.Unpack(p.ctx, img)
		must(t, err)
		fine := func(res *veneer.VerifyResult) bool {
			return res.Errors == 0 && res.Warnings == 1 && res.Platforms[0].Compared && strings.Contains(strings.Join(findingTexts(res), "\n"), "/again is not the same on overlayfs and on other snapshotters")
		}
		res := p.verify(t, veneer.VerifyRequest{Image: "odd:1"})
		if !fine(res) {
			t.Errorf("%+v: %q", res.Platforms, findingTexts(res))
		}
		if p.engine.Snapshotter != "overlayfs" {
			return
		}
		// Marked so, the directory can be read by the kernel alone: the snapshot is mounted then.
		d := damaged{p, img}
		name := filepath.Dir(d.file(t, "again/third"))
		must(t, unix.Setxattr(name, "trusted.overlay.opaque", []byte("x"), 0))
		if res = p.verify(t, veneer.VerifyRequest{Image: "odd:1"}); !fine(res) {
			t.Errorf("through a mount: %+v: %q", res.Platforms, findingTexts(res))
		}
		must(t, os.Chmod(filepath.Join(name, "third"), 0o600))
		if res = p.verify(t, veneer.VerifyRequest{Image: "odd:1"}); res.Errors != 1 || res.Findings[len(res.Findings)-1].Path != "/again/third" {
			t.Errorf("through a mount, damaged: %q", findingTexts(res))
		}
	})
}

// TestVerifyDiscarded: where containerd's discard_unpacked_layers left the layers out, nothing is wrong, and the report
// says what could not be checked.
func TestVerifyDiscarded(t *testing.T) {
	harness.RequireRoot(t)
	p := newPlace(t, harness.Start(t, harness.Containerd17), "overlayfs")
	d := damageable(t, p)
	defer d.keep(t)() // Else the collector may delete a blob between the two calls of the loop.
	for i, l := range d.img.Layers {
		d.unlabel(t, d.img.Manifest.Digest, "containerd.io/gc.ref.content.l."+string(rune('0'+i)))
		must(t, d.engine.Client.ContentStore().Delete(d.ctx, l.Digest))
	}
	res := p.verify(t, veneer.VerifyRequest{Image: "app:1"})
	wantFindings(t, "discarded", res, "note blob not checked: the blob is not stored here (containerd's discard_unpacked_layers", "note blob not checked", "note files not checked: the layers that the snapshot was made of")
	if res.Errors > 0 {
		t.Errorf("%d errors", res.Errors)
	}
	// The files can be compared all the same.
	same, err := veneer.SameRootfs(p.ctx, p.engine, veneer.SameRequest{A: "app:1", B: "app:1"})
	must(t, err)
	if !same.Same || same.Files < 10 {
		t.Errorf("%+v", same)
	}
	// Repair does not touch what it cannot make again.
	must(t, d.engine.Client.SnapshotService("overlayfs").Remove(d.ctx, d.img.ChainID.String()))
	res = p.verify(t, veneer.VerifyRequest{Image: "app:1", Repair: true})
	if all := strings.Join(findingTexts(res), "\n"); res.Errors != 2 || !strings.Contains(all, "error snapshot it is gone") || !strings.Contains(all, "error repair the snapshot is not replaced: its layers are not all here") {
		t.Errorf("repair: %q", all)
	}
}

// TestVerifyIndex: of an index all platforms that are here are verified, its attestations too; those that are not here
// are named.
func TestVerifyIndex(t *testing.T) {
	harness.RequireRoot(t)
	r := harness.NewRegistry(t)
	base := twoPlatforms(t, r)
	p := embedded(t)
	o := registry.Options{PlainHTTP: true, HostsDirs: []string{}, Platform: "linux/arm64"}
	_, err := registry.Pull(p.ctx, p.engine.Client, base, o)
	must(t, err)
	res := p.verify(t, veneer.VerifyRequest{Image: base})
	wantFindings(t, base, res, "note manifest not checked: it is listed, but its manifest is not stored here")
	if len(res.Platforms) != 1 || res.Platforms[0].Platform != "linux/arm64" || res.Platforms[0].Compared || res.Findings[0].Platform != "linux/amd64" {
		t.Errorf("%+v", res)
	}
	wantFindings(t, "one platform", p.verify(t, veneer.VerifyRequest{Image: base, Platform: "linux/arm64"}))

	// An attestation with a document that is damaged, in an index without labels.
	record, err := content.Lookup(p.ctx, p.engine.Client, base)
	must(t, err)
	store := p.engine.Client.ContentStore()
	idx, err := content.ReadIndex(p.ctx, store, record.Target)
	must(t, err)
	put := func(mediaType string, data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		must(t, content.WriteBlob(p.ctx, store, d, map[string]string{"containerd.io/gc.root": "test"}, data))
		return d
	}
	statement := put("application/vnd.in-toto+json", []byte(`{"_type":"statement"}`))
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: put(ocispec.MediaTypeImageConfig, []byte(`{"os":"unknown","architecture":"unknown"}`)), Layers: []ocispec.Descriptor{statement}}
	m.SchemaVersion = 2
	data, err := json.Marshal(m)
	must(t, err)
	attestation := put(m.MediaType, data)
	attestation.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	attestation.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	idx.Manifests = append(idx.Manifests[1:], attestation)
	data, err = json.Marshal(idx)
	must(t, err)
	_, err = content.Record(p.ctx, p.engine.Client, "docker.io/library/attested:1", put(idx.MediaType, data))
	must(t, err)
	d := damaged{place: p}
	must(t, os.WriteFile(d.blob(statement.Digest), []byte(`{"_type":"Statement"}`), 0o600))
	res = p.verify(t, veneer.VerifyRequest{Image: "attested:1"})
	if res.Errors != 5 || len(res.Findings) != 5 || !strings.Contains(strings.Join(findingTexts(res), "\n"), "error blob read blob "+statement.Digest.String()+": digest differs") {
		t.Errorf("attested: %q", findingTexts(res))
	}
}

// TestVerifyUnprivileged: an ordinary user verifies what it has in an engine of its own, and through a daemon's socket
// all but the files of a snapshot, which are root's; the report says so.
func TestVerifyUnprivileged(t *testing.T) {
	harness.RequireRoot(t)
	dir := harness.UnprivilegedDir(t)
	program, err := buildProgram()
	must(t, err)
	copied := filepath.Join(dir, "veneer")
	command(t, "cp", program, copied)
	as := func(args ...string) (string, error) {
		cmd := cli(t, append([]string{"--root", filepath.Join(dir, "root"), "--progress", "quiet"}, args...)...)
		cmd.Path, cmd.Args[0], cmd.Dir = copied, copied, dir
		cmd.Env = append(cmd.Env, "HOME=/nonexistent", "TMPDIR="+dir)
		harness.Unprivileged(cmd)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.Join(err, errors.New(string(exit.Stderr)))
		}
		return string(out), err
	}
	_, err = as("--engine", "embedded", "build", "--from", "scratch", "--copy", "veneer:/app", "-t", "app:1")
	must(t, err)
	out, err := as("--engine", "embedded", "verify", "app:1")
	if err != nil || strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, " read; 0 errors, 0 warnings\n") {
		t.Errorf("embedded: %v: %s", err, out)
	}
	out, err = as("--engine", "embedded", "verify", "--same-rootfs", "app:1", "app:1")
	if err != nil || !strings.Contains(out, "show the same") {
		t.Errorf("embedded: %v: %s", err, out)
	}

	p := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
	src := t.TempDir()
	write(t, filepath.Join(src, "file"), "x")
	p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:1"}}})
	must(t, os.Chmod(filepath.Dir(p.daemon.Address()), 0o755), os.Chmod(p.daemon.Address(), 0o666))
	out, err = as("--engine", "containerd", "--address", p.daemon.Address(), "verify", "app:1")
	if err != nil || strings.Count(out, "\n") != 2 || !strings.HasPrefix(out, "note: files linux/") || !strings.Contains(out, "not checked: ") {
		t.Errorf("containerd: %v: %s", err, out)
	}
}
