package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// lookScript prints what tells one tree from another, in a form that the shells here and in Debian agree on.
const lookScript = `export LC_ALL=C; cd "$0"; find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum
find . ! -type d -printf '%p %y %m %U:%G %l\n' | sort | sha256sum; find . -type d -printf '%p %m\n' | sort | sha256sum`

// TestMatrix builds two states of an application on Debian, on each engine and snapshotter: the same digests come out,
// the image holds just the state's files, it runs, and stays whole until it is removed. In the short form old containerds
// have overlayfs alone.
func TestMatrix(t *testing.T) {
	harness.RequireRoot(t)
	dir := t.TempDir()
	one, two := application(t, dir)
	note := filepath.Join(dir, "note")
	write(t, note, "merged\n")
	looks := command(t, "sh", "-c", lookScript, two)
	same := agreement{}

	snapshotters := func(kind harness.DaemonKind) []string {
		if kind == harness.Containerd17 || kind == harness.Containerd16 {
			return shortly("overlayfs")
		}
		return harness.Snapshotters()
	}
	inPlaces(t, snapshotters, func(t *testing.T, p *place) {
		before := p.stored(t)
		p.loadDebian(t)
		v1 := p.build(t, veneer.BuildRequest{
			Base: "debian:12",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
				{Op: differ.Copy, Source: one, Dest: "/app"},
				{Op: differ.Copy, Source: note, Dest: "/lib/note"},
			}},
			ImageOptions: veneer.ImageOptions{Tags: []string{"app:1"}},
		})
		v2 := p.build(t, veneer.BuildRequest{
			Base: "app:1",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{
				{Op: differ.Sync, Source: two, Dest: "/app"},
			}},
			ImageOptions: veneer.ImageOptions{Tags: []string{"app:2", "other:2"}},
		})
		same.check(t, "digest of the first image", v1.Digest.String())
		same.check(t, "digest of the second image", v2.Digest.String())
		if !v2.Unpacked || !v2.Pushable || len(v2.Warnings) > 0 {
			t.Errorf("result %+v", v2)
		}
		if v2.Layer.UncompressedSize > v1.Layer.UncompressedSize/4 {
			t.Errorf("the second layer is %d bytes of the first one's %d", v2.Layer.UncompressedSize, v1.Layer.UncompressedSize)
		}
		// Once the names of what it was built on are gone, nothing else keeps them.
		_, err := removeNames(p, []string{"debian:12", "app:1"}, false)
		must(t, err)
		p.collect(t)
		p.wantComplete(t, "app:2")
		wantSame(t, "/app", describe(t, two, false), p.describe(t, v2.ChainID, "/app", false))
		if p.daemon != nil {
			out := p.daemon.Run(t, "docker.io/library/app:2", p.engine.Snapshotter, "/bin/sh", "-c",
				`readlink /bin /lib; cat /usr/lib/note; exec sh -c "$0" /app`, lookScript)
			if want := "usr/bin\nusr/lib\nmerged\n" + looks; out != want {
				t.Errorf("in a container:\n%s\nwant\n%s", out, want)
			}
		}
		p.removeAll(t, before, "app:2", "other:2")
	})
	for what := range same {
		t.Log(what, strings.TrimSpace(same[what]))
	}
}
