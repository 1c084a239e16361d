package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/snapshot"
	"github.com/veneer-build/veneer/test/harness"
)

// TestVerifyDebian: a real base, unpacked by containerd, and what is built on it, have nothing wrong, wherever they are.
func TestVerifyDebian(t *testing.T) {
	harness.RequireRoot(t)
	_, app := application(t, t.TempDir())
	eachEngine(t, func(t *testing.T, p *place) {
		p.loadDebian(t)
		p.build(t, veneer.BuildRequest{
			Base: "debian:12",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
				{Op: differ.Sync, Source: app, Dest: "/app"}, {Op: differ.Delete, Dest: "/usr/share/doc"},
			}},
			ImageOptions: veneer.ImageOptions{Tags: []string{"app:2"}},
		})
		for _, name := range []string{"debian:12", "app:2"} {
			res := p.verify(t, veneer.VerifyRequest{Image: name})
			if res.Errors+res.Warnings > 0 {
				t.Errorf("%s: %q", name, findingTexts(res))
			}
			if len(res.Platforms) != 1 || !res.Platforms[0].Compared || res.Platforms[0].Files < 1000 || res.Blobs < 3 {
				t.Errorf("%s: %+v", name, res)
			}
		}
	})
}

// damaged is an image of two layers with files of many kinds, to be spoilt.
type damaged struct {
	*place
	img *content.Image
}

// damageable builds the image afresh.
func damageable(t *testing.T, p *place) damaged {
	t.Helper()
	src := filepath.Join(t.TempDir(), "src")
	at := func(name string) string { return filepath.Join(src, name) }
	// The snapshotter's name makes it another image for each, since a daemon's share one content store.
	for name, data := range map[string]string{"place": p.engine.Snapshotter, "dir/changed": "good", "dir/removed": "x", "chmod": "x", "attr": "x", "time": "x", "one": "linked", "low": "lower layer"} {
		write(t, at(name), data)
	}
	past := time.Unix(1_600_000_000, 0)
	must(t, os.Link(at("one"), at("two")), os.Symlink("one", at("link")), unix.Mkfifo(at("fifo"), 0o600),
		unix.Setxattr(at("attr"), "user.x", []byte("good"), 0), unix.Setxattr(at("dir"), "user.dir", []byte("good"), 0),
		os.Chtimes(at("time"), past, past))
	p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"low:1"}}})
	write(t, at("dir/upper"), "upper layer")
	p.build(t, veneer.BuildRequest{Base: "low:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/"}}, ForceDelete: true}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:1"}}})
	img, err := content.Resolve(p.ctx, p.engine.Client, "app:1", "")
	must(t, err)
	return damaged{p, img}
}

// file is a path's place in the snapshot's directories.
func (d damaged) file(t *testing.T, name string) string {
	t.Helper()
	ctx, release, err := lease.New(d.ctx, d.engine.Client.LeasesService())
	must(t, err)
	layers, err := snapshot.OpenLayers(ctx, d.engine.Client.SnapshotService(d.engine.Snapshotter), d.img.ChainID.String())
	must(t, err)
	dirs := layers.Dirs
	must(t, layers.Close(), release(ctx))
	for _, dir := range dirs {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	t.Fatalf("%s is in none of %q", name, dirs)
	return ""
}

// blob is the file of a blob.
func (d damaged) blob(dgst digest.Digest) string {
	root := filepath.Join(d.engine.Root, "content")
	if d.daemon != nil {
		root = filepath.Join(d.daemon.Root(), "io.containerd.content.v1.content")
	}
	return filepath.Join(root, "blobs", "sha256", dgst.Encoded())
}

// unlabel removes a label of a blob.
func (d damaged) unlabel(t *testing.T, dgst digest.Digest, label string) {
	t.Helper()
	store := d.engine.Client.ContentStore()
	info, err := store.Info(d.ctx, dgst)
	must(t, err)
	if _, ok := info.Labels[label]; !ok {
		t.Fatalf("%s has no label %s: %v", dgst, label, info.Labels)
	}
	_, err = store.Update(d.ctx, cstore.Info{Digest: dgst, Labels: map[string]string{label: ""}}, "labels."+label)
	must(t, err)
}

// TestVerifyDamage: each kind of damage is found and named; repair mends it, and then nothing is found.
func TestVerifyDamage(t *testing.T) {
	harness.RequireRoot(t)
	cases := []struct {
		name   string
		damage func(t *testing.T, d damaged) error
		want   []string // prefixes of findings
	}{
		{"changed", func(t *testing.T, d damaged) error {
			return writeInPlace(d.file(t, "dir/changed"), "evil")
		}, []string{"error files /dir/changed content: sha256:"}},
		{"truncated", func(t *testing.T, d damaged) error {
			return keepTime(d.file(t, "dir/changed"), func(name string) error { return os.Truncate(name, 1) })
		}, []string{"error files /dir/changed size: 1 (should be 4)"}},
		{"added", func(t *testing.T, d damaged) error {
			name := d.file(t, "dir/upper")
			return os.WriteFile(filepath.Join(filepath.Dir(filepath.Dir(name)), "added"), nil, 0o600)
		}, []string{"error files /added extra"}},
		{"removed", func(t *testing.T, d damaged) error {
			name := d.file(t, "dir/removed")
			return keepTime(filepath.Dir(name), func(string) error { return os.Remove(name) })
		}, []string{"error files /dir/removed missing"}},
		{"mode", func(t *testing.T, d damaged) error { return os.Chmod(d.file(t, "chmod"), 0o4755) }, []string{"error files /chmod mode: 0755 (should be 0644)"}},
		{"owner", func(t *testing.T, d damaged) error { return os.Lchown(d.file(t, "link"), 1, 2) }, []string{"error files /link owner: 1:2 (should be 0:0)"}},
		{"link", func(t *testing.T, d damaged) error {
			name := d.file(t, "link")
			return errors.Join(os.Remove(name), os.Symlink("two", name))
		}, []string{`error files /link link target: "two" (should be "one")`, "error files /link mtime"}},
		{"hard link", func(t *testing.T, d damaged) error {
			name := d.file(t, "two")
			return keepTime(name, func(string) error { return errors.Join(os.Remove(name), os.WriteFile(name, []byte("linked"), 0o644)) })
		}, []string{`error files /two hard link: a file of its own (should be one file with "/one")`}},
		{"attribute", func(t *testing.T, d damaged) error {
			return unix.Setxattr(d.file(t, "attr"), "user.x", []byte("evil"), 0)
		}, []string{`error files /attr xattr: "evil" (should be user.x "good")`}},
		{"attribute of a directory", func(t *testing.T, d damaged) error {
			return unix.Setxattr(d.file(t, "dir"), "user.dir", []byte("evil"), 0)
		}, []string{`error files /dir xattr: "evil" (should be user.dir "good")`}},
		{"time", func(t *testing.T, d damaged) error {
			return os.Chtimes(d.file(t, "time"), time.Time{}, time.Unix(1_600_000_001, 0))
		}, []string{"error files /time mtime: 2020-09-13T12:26:41Z (should be 2020-09-13T12:26:40Z)"}},
		{"lower layer", func(t *testing.T, d damaged) error {
			return writeInPlace(d.file(t, "low"), "LOWER layer")
		}, []string{"error files /low content: sha256:"}},
		{"all files", func(t *testing.T, d damaged) error {
			if d.engine.Snapshotter == "native" {
				t.Skip("not found with native: the view is the directory itself, and may be out of this process's sight as well as gone")
			}
			return os.RemoveAll(filepath.Dir(filepath.Dir(d.file(t, "dir/upper"))))
		}, []string{"error files no container can have them: "}},
		{"labels", func(t *testing.T, d damaged) error {
			d.unlabel(t, d.img.Manifest.Digest, "containerd.io/gc.ref.content.config")
			d.unlabel(t, d.img.Manifest.Digest, "containerd.io/gc.ref.content.l.1")
			d.unlabel(t, d.img.ConfigDesc.Digest, content.SnapshotLabel(d.engine.Snapshotter))
			d.unlabel(t, d.img.Layers[1].Digest, "containerd.io/uncompressed")
			return nil
		}, []string{
			"error label containerd.io/gc.ref.content.config is missing", "error label containerd.io/gc.ref.content.l.1 is missing",
			"warning label containerd.io/uncompressed is missing", "error label containerd.io/gc.ref.snapshot.",
		}},
		{"wrong label", func(_ *testing.T, d damaged) error {
			return content.SetLabels(d.ctx, d.engine.Client.ContentStore(), d.img.Layers[0].Digest, map[string]string{"containerd.io/uncompressed": "sha256:" + strings.Repeat("0", 64)})
		}, []string{"error label containerd.io/uncompressed is sha256:000"}},
		{"snapshot gone", func(_ *testing.T, d damaged) error {
			return d.engine.Client.SnapshotService(d.engine.Snapshotter).Remove(d.ctx, d.img.ChainID.String())
		}, []string{"error snapshot it is gone, though label"}},
	}
	eachPlace(t, func(t *testing.T, p *place) {
		d := damageable(t, p)
		wantFindings(t, "before", d.verify(t, veneer.VerifyRequest{Image: "app:1"}))
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				release := d.keep(t)
				defer release()
				must(t, c.damage(t, d))
				res := d.verify(t, veneer.VerifyRequest{Image: "app:1"})
				wantFindings(t, "damaged", res, c.want...)
				res = d.verify(t, veneer.VerifyRequest{Image: "app:1", Repair: true})
				if res.Errors+res.Warnings > 0 || res.Repaired != len(c.want) {
					t.Errorf("repair: %d errors, %d repaired: %q", res.Errors, res.Repaired, findingTexts(res))
				}
				// So the next case finds it good.
				wantFindings(t, "repaired", d.verify(t, veneer.VerifyRequest{Image: "app:1"}))
			})
		}
	})
}

// keep holds all blobs, which a removed label gives to the garbage collector, until the test is over.
func (d damaged) keep(t *testing.T) (release func()) {
	t.Helper()
	ctx, done, err := lease.New(d.ctx, d.engine.Client.LeasesService())
	must(t, err, content.Hold(ctx, d.engine.Client, d.img))
	id, _ := leases.FromContext(ctx)
	for _, chain := range []digest.Digest{d.img.DiffIDs[0], d.img.ChainID} {
		r := leases.Resource{Type: "snapshots/" + d.engine.Snapshotter, ID: chain.String()}
		must(t, d.engine.Client.LeasesService().AddResource(ctx, leases.Lease{ID: id}, r))
	}
	return func() { must(t, done(ctx)) }
}

// verify verifies; an error of its own fails the test.
func (p *place) verify(t *testing.T, req veneer.VerifyRequest) *veneer.VerifyResult {
	t.Helper()
	res, err := veneer.Verify(p.ctx, p.engine, req)
	must(t, err)
	return res
}

func findingTexts(res *veneer.VerifyResult) []string {
	list := []string{}
	for _, f := range res.Findings {
		text := fmt.Sprintf("%s %s ", f.Severity, f.Check)
		if f.Path != "" {
			text += f.Path + " "
		}
		list = append(list, text+f.Message)
	}
	return list
}

// wantFindings fails the test unless the findings begin with the given texts, in this order.
func wantFindings(t *testing.T, what string, res *veneer.VerifyResult, want ...string) {
	t.Helper()
	got := findingTexts(res)
	if len(got) != len(want) {
		t.Errorf("%s: findings %q, want %q", what, got, want)
		return
	}
	for i := range got {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%s: finding %q, want %q", what, got[i], want[i])
		}
	}
}

// keepTime does something to a file, and gives it back the time that it had.
func keepTime(name string, do func(name string) error) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return errors.Join(do(name), os.Chtimes(name, time.Time{}, info.ModTime()))
}

// writeInPlace changes a file's content and nothing else that stat shows.
func writeInPlace(name, data string) error {
	return keepTime(name, func(string) error { return os.WriteFile(name, []byte(data), 0o600) })
}

// TestVerifyBlobs: damage to blobs is found, and repair leaves the way free for a pull.
func TestVerifyBlobs(t *testing.T) {
	harness.RequireRoot(t)
	flip := func(name string) error {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		data[len(data)/2] ^= 1
		return errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, data, 0o600))
	}
	truncate := func(name string) error {
		info, err := os.Stat(name)
		return errors.Join(err, os.Truncate(name, info.Size()/2))
	}
	for _, c := range []struct {
		name   string
		spoil  func(name string) error
		target func(d damaged) digest.Digest
		want   []string
	}{
		{"flipped layer", flip, func(d damaged) digest.Digest { return d.img.Layers[0].Digest }, []string{"error blob ", "note files not checked: "}},
		{"truncated layer", truncate, func(d damaged) digest.Digest { return d.img.Layers[1].Digest }, []string{"error blob ", "note files not checked: "}},
		{"flipped config", flip, func(d damaged) digest.Digest { return d.img.ConfigDesc.Digest }, []string{"error blob "}},
		{"flipped manifest", flip, func(d damaged) digest.Digest { return d.img.Manifest.Digest }, []string{"error blob "}},
		{"removed layer", os.Remove, func(d damaged) digest.Digest { return d.img.Layers[1].Digest }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
			d := damageable(t, p)
			release := d.keep(t)
			defer release()
			must(t, c.spoil(d.blob(c.target(d))))
			res := d.verify(t, veneer.VerifyRequest{Image: "app:1"})
			if c.want == nil {
				if len(res.Findings) == 0 || !strings.Contains(res.Findings[0].Message, "not checked") && res.Errors == 0 {
					t.Errorf("findings %q", findingTexts(res))
				}
				return
			}
			wantFindings(t, "damaged", res, c.want...)
			if res.Errors == 0 || res.Findings[0].Object != c.target(d) && !strings.Contains(res.Findings[0].Message, c.target(d).String()) {
				t.Errorf("the blob is not named: %+v", res.Findings)
			}
			if c.target(d) != d.img.Layers[0].Digest {
				return
			}
			res = d.verify(t, veneer.VerifyRequest{Image: "app:1", Repair: true})
			if res.Errors == 0 {
				t.Errorf("a blob that is lost is no error: %q", findingTexts(res))
			}
			if _, err := os.Stat(d.blob(c.target(d))); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the damaged blob is still there: %v", err)
			}
			res = d.verify(t, veneer.VerifyRequest{Image: "app:1"})
			wantFindings(t, "removed", res, "note blob not checked: the blob is not stored here", "note files not checked")
		})
	}
}

// TestVerifyInUse: a snapshot that a container or another image lies on is not replaced, and the report says what to do.
func TestVerifyInUse(t *testing.T) {
	harness.RequireRoot(t)
	p := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
	p.loadDebian(t)
	src := t.TempDir()
	write(t, filepath.Join(src, "file"), "good")
	p.build(t, veneer.BuildRequest{Base: "debian:12", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/srv"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:1"}}})
	img, err := content.Resolve(p.ctx, p.engine.Client, "app:1", "")
	must(t, err)
	d := damaged{p, img}
	must(t, writeInPlace(d.file(t, "srv/file"), "evil"), writeInPlace(d.file(t, "etc/debian_version"), "bookworm/sid\n"))
	_, err = p.daemon.Ctr("containers", "create", "--snapshotter", "overlayfs", "docker.io/library/app:1", "busy", "/bin/true")
	must(t, err)
	got := p.verify(t, veneer.VerifyRequest{Image: "app:1", Repair: true})
	if got.Errors != 3 || got.Repaired != 0 || !strings.Contains(strings.Join(findingTexts(got), "\n"), "error repair the snapshot is not replaced: container busy uses it (remove that first, and repair then)") {
		t.Errorf("in use: %q", findingTexts(got))
	}
	// The base has an image on it.
	base := p.verify(t, veneer.VerifyRequest{Image: "debian:12", Repair: true})
	if base.Repaired != 0 || !strings.Contains(strings.Join(findingTexts(base), "\n"), "image docker.io/library/app:1 lies on it") {
		t.Errorf("base: %q", findingTexts(base))
	}
	_, err = p.daemon.Ctr("containers", "rm", "busy")
	must(t, err)
	// From the top down: both snapshots are made again.
	got = p.verify(t, veneer.VerifyRequest{Image: "app:1", Repair: true})
	if got.Errors != 0 || got.Repaired != 2 {
		t.Errorf("repair: %q", findingTexts(got))
	}
	for _, name := range []string{"app:1", "debian:12"} {
		wantFindings(t, name, p.verify(t, veneer.VerifyRequest{Image: name}))
	}
	if out := p.daemon.Run(t, "docker.io/library/app:1", "overlayfs", "cat", "/srv/file"); out != "good" {
		t.Errorf("in a container: %q", out)
	}
}

// TestVerifyProgram: the program prints a line for each finding, and its exit code tells whether something is wrong.
func TestVerifyProgram(t *testing.T) {
	harness.RequireRoot(t)
	p := newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")
	d := damageable(t, p)
	run := func(args ...string) (string, error) {
		out, err := cli(t, append([]string{"--engine", "containerd", "--address", p.daemon.Address(), "--progress", "quiet"}, args...)...).Output()
		return string(out), err
	}
	out, err := run("verify", "app:1")
	must(t, err)
	if !strings.HasPrefix(out, "docker.io/library/app:1: 1 platform, 4 blobs, ") || !strings.HasSuffix(out, " of 1 snapshot compared; 0 errors, 0 warnings\n") {
		t.Errorf("clean: %q", out)
	}
	must(t, writeInPlace(d.file(t, "dir/changed"), "evil"))
	out, err = run("verify", "app:1")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.HasPrefix(out, "error: files linux/") || !strings.Contains(out, " /dir/changed: content: sha256:") {
		t.Errorf("damaged: %v, %q", err, out)
	}
	if out, err = run("verify", "--format", "json", "app:1"); err == nil || !strings.Contains(out, `"check": "files"`) {
		t.Errorf("as JSON: %v, %q", err, out)
	}
	if out, err = run("verify", "--repair", "app:1"); err != nil || !strings.HasPrefix(out, "repaired: files ") || !strings.HasSuffix(out, "0 errors, 0 warnings, 1 repaired\n") {
		t.Errorf("repair: %v, %q", err, out)
	}
	out, err = run("verify", "--same-rootfs", "low:1", "app:1")
	if want := "/dir/upper  extra\ndocker.io/library/low:1 and docker.io/library/app:1 differ in 1 way\n"; err == nil || out != want {
		t.Errorf("two images: %v, %q", err, out)
	}
	if out, err = run("verify", "--same-rootfs", "app:1", "app:1"); err != nil || !strings.Contains(out, " show the same ") {
		t.Errorf("an image and itself: %v, %q", err, out)
	}
}

func noticeTexts(notices []veneer.Notice) string {
	var texts []string
	for _, n := range notices {
		texts = append(texts, n.Text)
	}
	return strings.Join(texts, "\n")
}
