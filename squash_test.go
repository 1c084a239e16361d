package veneer_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/config"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// update writes the files of one version of an application; each version has some that no other has.
func update(t *testing.T, dir string, version int) {
	t.Helper()
	write(t, dir, "version", strconv.Itoa(version))
	write(t, dir, fmt.Sprintf("only/%d", version), "x")
	if err := os.RemoveAll(filepath.Join(dir, "only", strconv.Itoa(version-1))); err != nil {
		t.Fatal(err)
	}
}

// chain builds "os" and on it "app:1" to "app:n", each upon the one before, and returns the application's directory.
func chain(t *testing.T, e *engine.Engine, n int, maxLayers int) string {
	t.Helper()
	system, app := t.TempDir(), t.TempDir()
	write(t, system, "etc/os", "an operating system")
	write(t, system, "app/old", "old")
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: system, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"os"}}})
	base := "os"
	for i := 1; i <= n; i++ {
		update(t, app, i)
		tag := fmt.Sprintf("app:%d", i)
		mustBuild(t, e, veneer.BuildRequest{
			Base:          base,
			MaxLayers:     maxLayers,
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: app, Dest: "/app"}}},
			ImageOptions:  veneer.ImageOptions{Tags: []string{tag}, Config: config.Edit{Changes: []string{fmt.Sprintf("ENV V=%d", i)}}},
		})
		base = tag
	}
	return app
}

func mustSquash(t *testing.T, e *engine.Engine, base, onto, tag string) *veneer.Result {
	t.Helper()
	res, err := veneer.Squash(t.Context(), e, veneer.SquashRequest{Base: base, Onto: onto, ImageOptions: veneer.ImageOptions{Tags: []string{tag}}})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestSquash(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	chain(t, e, 4, 0)
	system, app := resolve(t, e, "os"), resolve(t, e, "app:4")

	res := mustSquash(t, e, "app:4", "", "flat:4")
	got := resolve(t, e, "flat:4")
	if len(app.Layers) != 5 || len(got.Layers) != 2 || got.DiffIDs[0] != system.DiffIDs[0] || res.Squashed != 4 {
		t.Errorf("%d layers became %d: %+v", len(app.Layers), len(got.Layers), res)
	}
	if h := got.Config.History; len(h) != 2 || h[1].CreatedBy != "veneer; SQUASH 4 layers" {
		t.Errorf("history %+v", h)
	}
	if !slices.Equal(got.Config.Config.Env, app.Config.Config.Env) {
		t.Errorf("config %+v", got.Config.Config)
	}
	if refs, err := content.BaseOf(got); err != nil || len(refs) != 2 || refs[0] != system.Manifest.Digest.String() || refs[1] != system.Name {
		t.Errorf("based on %q, %v", refs, err)
	}
	wantSameFiles(t, e, "flat:4", "app:4")

	part := mustSquash(t, e, "app:4", "app:2", "part:4")
	if img := resolve(t, e, "part:4"); len(img.Layers) != 4 || part.Squashed != 2 || !slices.Equal(img.DiffIDs[:3], app.DiffIDs[:3]) {
		t.Errorf("onto app:2: %+v", part)
	}
	wantSameFiles(t, e, "part:4", "app:4")
	for _, onto := range []string{"", "os"} {
		if again := mustSquash(t, e, "flat:4", onto, "again:4"); !again.Unchanged || again.Digest != res.Digest {
			t.Errorf("again: %+v", again)
		}
	}
}

// Where the images between are gone, and in a format without annotations, the history tells.
func TestSquashByHistory(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	chain(t, e, 4, 0)
	if _, err := content.RemoveIf(e.Context(t.Context()), e.Client, []string{"app:3", "app:2", "app:1"}, true, func(context.Context, []images.Image) error { return nil }); err != nil {
		t.Fatal(err)
	}
	res := mustSquash(t, e, "app:4", "", "flat:4")
	got := resolve(t, e, "flat:4")
	if len(got.Layers) != 2 || got.DiffIDs[0] != resolve(t, e, "os").DiffIDs[0] || res.Squashed != 4 {
		t.Errorf("%+v", res)
	}
	if refs, err := content.BaseOf(got); err != nil || len(refs) > 0 {
		t.Errorf("based on %q, %v", refs, err)
	}
	wantSameFiles(t, e, "flat:4", "app:4")
}

func TestSquashRefused(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	chain(t, e, 2, 0)
	other := t.TempDir()
	write(t, other, "f", "f")
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: other, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"other"}}})
	for what, c := range map[string]struct{ base, onto, says string }{
		"absent":      {"absent", "", `no image "absent"`},
		"onto absent": {"app:2", "absent", `no image "absent"`},
		"unrelated":   {"app:2", "other", "are not the lower layers"},
		"upwards":     {"app:1", "app:2", "are not the lower layers"},
		"scratch":     {"scratch", "", "neither its annotations nor its history"},
	} {
		_, err := veneer.Squash(t.Context(), e, veneer.SquashRequest{Base: c.base, Onto: c.onto, ImageOptions: veneer.ImageOptions{Tags: []string{"x"}}})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", what, err, c.says)
		}
	}
}

// However many updates there are, the layers stay few, and the files right.
func TestMaxLayers(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	const most = 4
	app := chain(t, e, 12, most)
	squashed := 0
	for i := 1; i <= 12; i++ {
		img := resolve(t, e, fmt.Sprintf("app:%d", i))
		if len(img.Layers) > most {
			t.Errorf("app:%d has %d layers", i, len(img.Layers))
		}
		if len(img.Layers) == 2 {
			squashed++
		}
		if want := fmt.Sprintf("V=%d", i); !slices.Contains(img.Config.Config.Env, want) {
			t.Errorf("app:%d has %q", i, img.Config.Config.Env)
		}
	}
	if squashed != 4 { // app:1, and every third from then on
		t.Errorf("%d images have one layer upon the system's", squashed)
	}
	sync := []veneer.TargetSpec{{Op: differ.Sync, Source: app, Dest: "/app"}}
	mustBuild(t, e, veneer.BuildRequest{Base: "os", TargetOptions: veneer.TargetOptions{Targets: sync}, ImageOptions: veneer.ImageOptions{Tags: []string{"direct"}}})
	res, err := veneer.SameRootfs(t.Context(), e, veneer.SameRequest{A: "app:12", B: "direct"})
	if err != nil || !res.Same {
		t.Errorf("%+v, %v", res, err)
	}
	deep := resolve(t, e, "app:4")
	if len(deep.Layers) < most {
		deep = resolve(t, e, "app:3")
	}
	// What changes nothing squashes nothing.
	update(t, app, 3)
	if same := mustBuild(t, e, veneer.BuildRequest{Base: deep.Name, MaxLayers: most, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: filepath.Join(app, "only/3"), Dest: "/app/only/3"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"same"}}}); !same.Unchanged {
		t.Errorf("nothing new: %+v", same)
	}
	more := mustBuild(t, e, veneer.BuildRequest{Base: deep.Name, MaxLayers: -1, TargetOptions: veneer.TargetOptions{Targets: sync}, ImageOptions: veneer.ImageOptions{Tags: []string{"more"}}})
	if more.Squashed != 0 || len(resolve(t, e, "more").Layers) != len(deep.Layers)+1 {
		t.Errorf("no limit: %+v", more)
	}
}

// A sync of the root that was allowed is not refused for what earlier layers deleted.
func TestMaxLayersSyncRoot(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	dir := t.TempDir()
	write(t, dir, "a", "a")
	write(t, dir, "b", "b")
	all := []veneer.TargetSpec{{Op: differ.Sync, Source: dir, Dest: "/"}}
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: all}, ImageOptions: veneer.ImageOptions{Tags: []string{"r:1"}}})
	mustBuild(t, e, veneer.BuildRequest{Base: "r:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Delete, Dest: "/b"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"r:2"}}})
	if err := os.Remove(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a", "A")
	res := mustBuild(t, e, veneer.BuildRequest{Base: "r:2", MaxLayers: 2, TargetOptions: veneer.TargetOptions{Targets: all}, ImageOptions: veneer.ImageOptions{Tags: []string{"r:3"}}})
	if res.Squashed != 1 || res.Changes.Deleted.Count != 1 || res.Changes.Modified.Count != 1 {
		t.Errorf("%+v", res)
	}
}
