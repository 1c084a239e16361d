package dist_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// TestImage: the image of Veneer, made twice, is the same; others find nothing wrong with it; and in a container that has
// the daemon's socket, no capability and a read-only root, it builds an image which then runs. In the long form it is for
// both architectures.
func TestImage(t *testing.T) {
	harness.RequireRoot(t)
	arches := []string{runtime.GOARCH}
	if os.Getenv("VENEER_SOAK") == "1" {
		arches = []string{"amd64", "arm64"}
	}
	first, digest := image(t, arches...)
	second, again := image(t, arches...)
	if digest != again || run(t, "cmp", first, second) != "" {
		t.Errorf("made twice: %s and %s", digest, again)
	}
	layout := harness.Extract(t, first)
	if err := harness.Validate(t, layout, ""); err != nil {
		t.Error(err)
	}
	if index := read(t, filepath.Join(layout, "index.json")); !strings.Contains(index, digest) || !strings.Contains(index, `"docker.io/library/veneer:1.0.0-rc.1"`) {
		t.Errorf("the archive holds %s, want %s", index, digest)
	}
	for _, arch := range arches {
		if len(arches) > 1 && !strings.Contains(read(t, filepath.Join(layout, "blobs", strings.Replace(digest, ":", "/", 1))), `"architecture":"`+arch+`"`) {
			t.Errorf("the index lacks %s", arch)
		}
	}

	d := harness.Start(t, harness.Containerd2)
	d.Import(t, first, "overlayfs")
	busybox := filepath.Join(t.TempDir(), "busybox.tar")
	harness.BusyboxImage(t, busybox, "docker.io/library/base:1")
	d.Import(t, busybox, "overlayfs")
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "version"), []byte("from a container\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mount := func(from, to, options string) string {
		return "type=bind,src=" + from + ",dst=" + to + ",options=" + options
	}
	if _, err := d.Ctr(
		"run", "--rm", "--read-only", "--seccomp", "--cap-drop", "CAP_DAC_OVERRIDE", "--cap-drop", "CAP_CHOWN",
		"--mount", mount(filepath.Dir(d.Address()), "/run/containerd", "rbind:ro"), "--mount", mount(source, "/src", "rbind:ro"),
		"docker.io/library/veneer:1.0.0-rc.1", fmt.Sprintf("builder-%d", os.Getpid()), // runc knows it beside those of other daemons
		"/usr/bin/veneer", "--engine", "containerd", "build", "--from", "base:1", "--sync", "/src:/app", "-t", "app:1",
	); err != nil {
		t.Fatal(err)
	}
	if out := d.Run(t, "docker.io/library/app:1", "overlayfs", "/bin/cat", "/app/version"); out != "from a container\n" {
		t.Errorf("the built image has %q", out)
	}
}

// image makes the image for some architectures, with a version that cannot be a tag as it stands, and returns the archive
// and what digest the image is said to have.
func image(t *testing.T, arches ...string) (archive, digest string) {
	t.Helper()
	repo, err := harness.RepoRoot()
	harness.Check(t, err)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-s", "-C", repo, "image", "DIST_ARCHES="+strings.Join(arches, " "))
	cmd.Env = append(os.Environ(), "DIST="+dir, "PACKAGE_VERSION=1.0.0~rc.1")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("make image: %v\n%s", err, out)
	}
	return glob(t, filepath.Join(dir, "image"), "veneer-1.0.0~rc.1.oci.tar"), strings.TrimSpace(string(out))
}
