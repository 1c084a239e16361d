package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
)

// TestCommitRedirect commits a container whose upper directory says of a directory only that it was renamed, as overlayfs
// does with redirect_dir=on: it is read through the container's own mount while that is there, and refused else.
func TestCommitRedirect(t *testing.T) {
	p := oneDaemon(t)
	p.liveBase(t, serviceBase(t))
	b := p.container(t, "create", "base:1", "/bin/live")
	mounts, err := p.engine.Client.SnapshotService("overlayfs").Mounts(p.ctx, b.id)
	must(t, err)
	var upper string
	for _, o := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			upper = dir
		}
	}
	moved := filepath.Join(upper, "moved")
	must(t, os.Mkdir(moved, 0o755), unix.Setxattr(moved, "trusted.overlay.redirect", []byte("/d/sub"), 0))
	for _, name := range []string{"d", "d/sub"} {
		if name == "d" {
			must(t, os.Mkdir(filepath.Join(upper, name), 0o755))
			continue
		}
		must(t, unix.Mknod(filepath.Join(upper, name), unix.S_IFCHR, 0))
	}
	req := veneer.CommitRequest{Container: b.id, ImageOptions: veneer.ImageOptions{Tags: []string{"moved:1"}}}
	if _, err := veneer.Commit(p.ctx, p.engine, req); err == nil || !strings.Contains(err.Error(), "start the container") {
		t.Errorf("of a container without a mount: %v", err)
	}
	b.ctr(t, "tasks", "start", "-d", "--log-uri", "file:///dev/null", b.id)
	if _, err := os.Stat(filepath.Join(b.rootfs, "moved/a")); err != nil {
		t.Skipf("this kernel does not follow redirects: %v", err)
	}
	want := describe(t, b.rootfs, false)
	res := b.commit(t, req)
	wantSame(t, "the image", want, describe(t, p.applied(t, res.Target), false))
	if got := b.status(t); got != "RUNNING" {
		t.Errorf("the container is %s", got)
	}
}

// TestCommitResumed: what was read of a container that somebody else let go on meanwhile is no image.
func TestCommitResumed(t *testing.T) {
	p := oneDaemon(t)
	p.liveBase(t, serviceBase(t))
	b := p.container(t, "run", "base:1", "/bin/live")
	command(t, "dd", "if=/dev/urandom", "of="+filepath.Join(b.rootfs, "big"), "bs=1M", "count=200", "status=none")
	failed := make(chan error, 1)
	go func() {
		_, err := veneer.Commit(p.ctx, p.engine, veneer.CommitRequest{Container: b.id, ImageOptions: veneer.ImageOptions{Tags: []string{"never:1"}}})
		failed <- err
	}()
	for deadline := time.Now().Add(20 * time.Second); b.status(t) != "PAUSED"; {
		if time.Now().After(deadline) {
			t.Fatal("the container was never paused")
		}
	}
	b.ctr(t, "tasks", "resume", b.id)
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "resumed by somebody else") {
		t.Errorf("error %v", err)
	}
	if images := b.ctr(t, "images", "ls", "-q"); strings.Contains(images, "never") {
		t.Errorf("images: %s", images)
	}
}
