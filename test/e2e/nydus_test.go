package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/test/harness"
)

// TestNydus: on nydus-snapshotter, without nydusd, ordinary images are built, run, committed, saved and loaded as on overlayfs,
// with the same digests. TestSnapshotters has random trees and many layers. It refuses views without a parent, which the diff
// service needs for a layer on scratch, and which images without layers are read by.
func TestNydus(t *testing.T) {
	if !soak() {
		t.Skip("nydus-snapshotter is run in `make soak`")
	}
	harness.RequireRoot(t)
	same := agreement{}
	t.Run("overlayfs", func(t *testing.T) {
		newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs").ordinary(t, same)
	})
	t.Run("nydus", func(t *testing.T) {
		newPlace(t, harness.StartWith(t, harness.Containerd2, harness.Nydus(t)), "nydus").ordinary(t, same)
	})
}

// ordinary is what Veneer does with images that have all their layers, from scratch and on a Debian.
func (p *place) ordinary(t *testing.T, same agreement) {
	t.Run("scratch", func(t *testing.T) { p.onScratch(t, same) })
	t.Run("debian", func(t *testing.T) { p.onDebian(t, same) })
}

// wantUsual checks an image that was built, and returns its name.
func (p *place) wantUsual(t *testing.T, res *veneer.Result, name string, same agreement) string {
	t.Helper()
	same.check(t, "digest of "+name, res.Digest.String())
	if !res.Unpacked || len(res.Warnings) > 0 {
		t.Errorf("%s: %+v", name, res)
	}
	if verified := p.verify(t, veneer.VerifyRequest{Image: name}); verified.Errors+verified.Warnings > 0 || verified.Target.Digest != res.Digest {
		t.Errorf("verify of %s says %+v", name, verified)
	}
	return name
}

func (p *place) onScratch(t *testing.T, same agreement) {
	before := p.stored(t)
	program, err := helloProgram()
	must(t, err)
	source, empty := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(source, "hello"), program, 0o755)) //nolint:gosec // it is run
	var names []string
	build := func(base, source, name string, by veneer.DifferKind) *veneer.Result {
		t.Helper()
		res := p.build(t, veneer.BuildRequest{
			Base: base, Differ: by, TargetOptions: veneer.TargetOptions{Targets: exactly(source), ForceDelete: true},
			ImageOptions: veneer.ImageOptions{Tags: []string{name}},
		})
		names = append(names, p.wantUsual(t, res, name, same))
		return res
	}
	var last *veneer.Result
	for i, by := range []veneer.DifferKind{veneer.DifferVeneer, veneer.DifferService} {
		write(t, filepath.Join(source, "d/file"), "one\n")
		command(t, "find", source, empty, "-exec", "touch", "-h", "-d", "@1600000000", "{}", "+")
		build("scratch", source, fmt.Sprintf("one:%d", i), by)
		build("scratch", empty, fmt.Sprintf("none:%d", i), veneer.DifferVeneer)
		build(fmt.Sprintf("none:%d", i), source, fmt.Sprintf("on-none:%d", i), by)
		write(t, filepath.Join(source, "d/file"), "and two\n")
		command(t, "find", source, "-exec", "touch", "-h", "-d", "@1600000000", "{}", "+")
		last = build(fmt.Sprintf("one:%d", i), source, fmt.Sprintf("two:%d", i), by)
		wantSame(t, "/", describe(t, source, false), p.describe(t, last.ChainID, "", false))
	}
	if out := p.daemon.Run(t, "docker.io/library/two:1", p.engine.Snapshotter, "/hello"); out != "hello\n" {
		t.Errorf("in a container: %q", out)
	}
	p.removeAll(t, before, names...)
}

// onDebian: RUN, a container's changes, and the way through an archive.
func (p *place) onDebian(t *testing.T, same agreement) {
	before := p.stored(t)
	p.twoStates(t, true)
	p.wantSays(t, "app:2", "two\n")
	req := veneer.DockerfileRequest{}
	req.Dockerfile = []byte("FROM app:2\nRUN --network=none rm -r /usr/share/doc/bash && mv /usr/share/common-licenses /srv && dpkg --verify\n")
	req.Epoch, req.Tags = &epoch, []string{"ran:1"}
	ran, err := veneer.BuildDockerfile(p.ctx, p.engine, req)
	must(t, err)
	p.wantUsual(t, ran, "ran:1", same)

	var committed *veneer.Result
	t.Run("commit", func(t *testing.T) { committed = p.commitsOn(t, "ran:1", same) })

	archive := p.save(t, "committed:1")
	all := []string{"debian:12", "app:1", "app:2", "ran:1", "committed:1"}
	_, err = veneer.Prune(p.ctx, p.engine, veneer.PruneRequest{All: true})
	must(t, err)
	p.removeAll(t, before, all...)
	_, err = p.loadBytes(archive)
	must(t, err)
	p.wantUsual(t, committed, "committed:1", same)
	p.removeAll(t, before, "committed:1")
}

// commitsOn commits what a container on an image has changed, as committed:1.
func (p *place) commitsOn(t *testing.T, image string, same agreement) *veneer.Result {
	t.Helper()
	box := p.container(t, "run", image, "sh", "-c", "rm -r /srv/common-licenses && echo new >/new && touch -d @1600000000 /new /srv")
	for box.status(t) != "STOPPED" {
		time.Sleep(50 * time.Millisecond)
	}
	res := box.commit(t, veneer.CommitRequest{ImageOptions: veneer.ImageOptions{Tags: []string{"committed:1"}}})
	p.wantUsual(t, res, "committed:1", same)
	return res
}
