package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"google.golang.org/protobuf/proto"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/test/harness"
)

// TestParallelUnpack: deletions hold where a daemon unpacks the layers of what was built side by side, each without those
// below, as containerd from 2.2 on can.
func TestParallelUnpack(t *testing.T) {
	harness.RequireRoot(t)
	from := embedded(t)
	r := harness.NewRegistry(t)
	name := r.Addr() + "/state:1"
	last := from.states(t, name)
	_, err := registry.Push(from.ctx, from.engine.Client, name, registry.Options{PlainHTTP: true, HostsDirs: []string{}, DockerConfig: t.TempDir()})
	must(t, err)
	for _, unpacks := range []int{1, 4} {
		t.Run(fmt.Sprint(unpacks), func(t *testing.T) {
			d := harness.StartWith(t, harness.Containerd2, harness.Settings{
				Config: fmt.Sprintf("[plugins.\"io.containerd.transfer.v1.local\"]\n  max_concurrent_unpacks = %d\n", unpacks),
			})
			p := newPlace(t, d, "overlayfs")
			alone := p.preparedAlone(t)
			// The daemon itself pulls, and unpacks.
			_, err := d.Ctr("images", "pull", "--plain-http", name)
			must(t, err)
			// The first one lies on nothing in any case.
			want := 1
			if unpacks > 1 && p.engine.Rebases(p.ctx) {
				want = 5
			}
			if n := alone(); n != want {
				t.Errorf("%d layers were unpacked without those below, not %d", n, want)
			}
			img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
			must(t, err)
			if img.ChainID != last.ChainID {
				t.Fatalf("pulled %s, not %s", img.ChainID, last.ChainID)
			}
			wantSame(t, "unpacked", from.describe(t, last.ChainID, "", true), p.describe(t, img.ChainID, "", true))
			if res := p.verify(t, veneer.VerifyRequest{Image: name}); res.Errors > 0 || len(res.Platforms) != 1 || !res.Platforms[0].Compared {
				t.Errorf("verify says %+v", res)
			}
		})
	}
}

// preparedAlone begins to listen, and returns what counts the snapshots that were prepared on nothing since.
func (p *place) preparedAlone(t *testing.T) func() int {
	t.Helper()
	ctx, cancel := context.WithCancel(p.ctx)
	t.Cleanup(cancel)
	events, errs := p.engine.Client.Subscribe(ctx, `topic=="/snapshot/prepare"`)
	return func() (n int) {
		for {
			select {
			case e := <-events:
				var prepare eventsapi.SnapshotPrepare
				must(t, proto.Unmarshal(e.Event.GetValue(), &prepare))
				if prepare.Parent == "" {
					n++
				}
			case err := <-errs:
				t.Fatal(err)
			case <-time.After(200 * time.Millisecond):
				return n
			}
		}
	}
}

// states builds an image of layers that delete each other's files, directories and links, make them again and turn them
// into something else.
func (p *place) states(t *testing.T, name string) *veneer.Result {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	at := func(name string) string { return filepath.Join(dir, name) }
	var last *veneer.Result
	base := "scratch"
	for i, change := range []func(){
		func() {
			for _, name := range []string{"d/one", "d/two", "d/deep/er/file", "gone/file", "again/old", "turned/file", "file", "kept"} {
				write(t, at(name), name)
			}
			must(t, os.Symlink("d", at("link")))
		},
		func() { must(t, os.Remove(at("d/one")), os.RemoveAll(at("gone")), os.Remove(at("link"))) },
		func() { must(t, os.RemoveAll(at("again"))); write(t, at("again/new"), "new") },
		func() {
			must(t, os.RemoveAll(at("turned")), os.Symlink("d", at("turned")), os.Remove(at("file")))
			write(t, at("file/now"), "a directory")
		},
		func() { must(t, os.RemoveAll(at("d/deep"))); write(t, at("gone/file"), "here again") },
	} {
		change()
		last = p.build(t, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: exactly(dir), ForceDelete: true}, ImageOptions: veneer.ImageOptions{Tags: []string{name}}})
		base = name
		wantSame(t, fmt.Sprint("state ", i), describe(t, dir, false), p.describe(t, last.ChainID, "", false))
	}
	return last
}
