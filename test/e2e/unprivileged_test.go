package e2e

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// TestUnprivileged: an ordinary user without capabilities builds on an embedded engine of its own and gets the digest that
// root gets through each daemon; the result says that the image is not unpacked.
func TestUnprivileged(t *testing.T) {
	harness.RequireRoot(t)
	dir := harness.UnprivilegedDir(t)
	program, err := buildProgram()
	must(t, err)
	copied := filepath.Join(dir, "veneer")
	command(t, "cp", program, copied)
	src := filepath.Join(dir, "src")
	write(t, filepath.Join(src, "bin/app"), "#!/bin/sh\necho app\n")
	write(t, filepath.Join(src, "data/1"), strings.Repeat("data\n", 10_000))
	must(t, os.Chmod(filepath.Join(src, "bin/app"), 0o755), os.Link(filepath.Join(src, "data/1"), filepath.Join(src, "data/2")),
		os.Symlink("app", filepath.Join(src, "bin/link")))
	command(t, "chown", "-hR", "65534:65534", src)

	as := func(args ...string) *exec.Cmd {
		cmd := cli(t, append([]string{"--engine", "embedded", "--root", filepath.Join(dir, "root"), "--progress", "plain"}, args...)...)
		cmd.Path, cmd.Args[0], cmd.Dir = copied, copied, dir
		cmd.Env = append(cmd.Env, "HOME=/nonexistent", "TMPDIR="+dir)
		harness.Unprivileged(cmd)
		return cmd
	}
	archive, err := os.Open(harness.DebianImage(t))
	must(t, err)
	defer archive.Close()
	load := as("load", "-")
	load.Stdin = io.Reader(archive)
	output(t, load)
	res := result(t, as("build", "--from", "debian:12", "--sync", "type=dir,src=src,dest=/srv/app,chown=games", "--copy", "src/data/:/lib/data/",
		"--delete", "/usr/bin/perl", "-c", `CMD ["/srv/app/bin/app"]`, "-t", "app:1", "--format", "json"))
	if res.Unpacked || len(res.Warnings) != 0 {
		t.Errorf("unpacked %v, warnings %q", res.Unpacked, res.Warnings)
	}
	if again := result(t, as("build", "--from", "app:1", "--sync", "src/data:/lib/data", "-t", "app:2", "--format", "json")); !again.Unchanged {
		t.Errorf("the image does not have the files that it was built of: %+v", again)
	}

	for _, kind := range harness.Daemons(t) {
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, harness.Start(t, kind), "overlayfs")
			p.loadDebian(t)
			req := veneer.BuildRequest{
				Base: "debian:12",
				TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
					{Op: differ.Sync, Source: src, Dest: "/srv/app", Chown: "games"},
					{Op: differ.Copy, Source: filepath.Join(src, "data"), Dest: "/lib/data/"},
					{Op: differ.Delete, Dest: "/usr/bin/perl"},
				}},
				ImageOptions: veneer.ImageOptions{Tags: []string{"app:1"}},
			}
			req.Config.Changes = []string{`CMD ["/srv/app/bin/app"]`}
			if root := p.build(t, req); root.Digest != res.Digest {
				t.Errorf("root gets %s, the user %s", root.Digest, res.Digest)
			}
			if out := p.daemon.Run(t, "docker.io/library/app:1", "overlayfs"); out != "app\n" {
				t.Errorf("it prints %q", out)
			}
		})
	}
}

// TestRootWithoutCapabilities: root that may do nothing but use a daemon's socket builds there: the daemon applies the
// layer, and the digest and the snapshot are those of a root that may do all.
func TestRootWithoutCapabilities(t *testing.T) {
	p := oneDaemon(t)
	base := serviceBase(t)
	must(t, os.Chmod(filepath.Join(base, "d/sub"), 0o700), os.Lchown(filepath.Join(base, "d/sub"), 1000, 1000), os.Chmod(filepath.Join(base, "d/other"), 0))
	p.build(t, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: exactly(base)}, ImageOptions: veneer.ImageOptions{Tags: []string{"base:1"}}})
	src := filepath.Join(t.TempDir(), "src")
	write(t, filepath.Join(src, "sub/new"), "new\n")
	write(t, filepath.Join(src, "other"), "other than before\n")
	must(t, unix.Chmod(filepath.Join(src, "other"), 0o2755))
	build := func(tag string, limited bool) *veneer.Result {
		cmd := cli(t, "--address", p.daemon.Address(), "--engine", "containerd", "build", "--from", "base:1", "--copy", src+"/:/d", "--no-cache", "-t", tag, "--format", "json")
		if limited {
			setpriv, err := exec.LookPath("setpriv")
			must(t, err)
			cmd.Args = append([]string{setpriv, "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", "--", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = setpriv
		}
		return result(t, cmd)
	}
	limited, all := build("limited:1", true), build("all:1", false)
	if limited.Digest != all.Digest || !limited.Unpacked || len(limited.Warnings) > 0 {
		t.Errorf("without capabilities %+v, with them %s", limited, all.Digest)
	}
	if got := p.describe(t, limited.ChainID, "d", false)["other"]; !strings.Contains(got, "2755") {
		t.Errorf("the file that sets its group is %q", got)
	}
}
