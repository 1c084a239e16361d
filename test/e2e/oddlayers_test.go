package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive/tartest"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// oddCase is an upper layer that containerd's snapshotters, or other tools, understand in different ways.
type oddCase struct {
	upper []tartest.WriterToTar
	// shows and hides are paths of which overlayfs shows a file, and none.
	shows, hides string
	// disagree: snapshotters without overlayfs show something else.
	disagree bool
	// refused: containerd cannot unpack it on overlayfs, and the error says this.
	refused string
}

func oddCases() map[string]oddCase {
	tc := tartest.TarContext{}.WithModTime(time.Unix(1_600_000_000, 0))
	f := func(name string) tartest.WriterToTar { return tc.File(name, []byte(name), 0o644) }
	d := func(name string) tartest.WriterToTar { return tc.Dir(name, 0o755) }
	opq := ".wh..wh..opq"
	return map[string]oddCase{
		"plain":                        {upper: []tartest.WriterToTar{f("d/s/new")}, shows: "d/s/new"},
		"marker after files deep":      {upper: []tartest.WriterToTar{f("d/s/t/new"), f("d/" + opq)}, shows: "d/s/t/new", hides: "d/k", disagree: true},
		"marker after files near":      {upper: []tartest.WriterToTar{f("d/s/t/new"), f("d/s/" + opq)}, shows: "d/s/t/new", hides: "d/s/t/old", disagree: true},
		"marker after files some dirs": {upper: []tartest.WriterToTar{d("d"), d("d/s"), f("d/s/t/new"), f("d/" + opq)}, shows: "d/s/t/new", hides: "d/k", disagree: true},
		"marker before files":          {upper: []tartest.WriterToTar{f("d/" + opq), f("d/s/t/new")}, shows: "d/s/t/new", hides: "d/k"},
		"marker of the root":           {upper: []tartest.WriterToTar{f("n/new"), f(opq)}, shows: "n/new", disagree: true},
		"file below a link":            {upper: []tartest.WriterToTar{f("l/new")}, shows: "l/new", hides: "d/new", disagree: true},
		"whiteout below a link":        {upper: []tartest.WriterToTar{f("l/.wh.k")}, shows: "d/k", hides: "l/k", disagree: true},
		"marker below a link":          {upper: []tartest.WriterToTar{f("l/" + opq)}, shows: "d/k", hides: "l/k", disagree: true},
		"whiteout then a directory":    {upper: []tartest.WriterToTar{f(".wh.d"), d("d"), f("d/new")}, shows: "d/k", disagree: true},
		"file then a directory":        {upper: []tartest.WriterToTar{f("d"), d("d"), f("d/new")}, shows: "d/k", disagree: true},
		"whiteout and marker":          {upper: []tartest.WriterToTar{f(".wh.d"), d("d"), f("d/" + opq), f("d/new")}, shows: "d/new", hides: "d/k"},
		"books of AUFS":                {upper: []tartest.WriterToTar{f(".wh..wh.aufs"), d(".wh..wh.plnk"), f(".wh..wh.plnk/1.2"), tc.Link(".wh..wh.plnk/1.2", "new")}, shows: "new"},
		"name and its whiteout":        {upper: []tartest.WriterToTar{f("x"), f(".wh.x")}, refused: "the layer has the file that it deletes"},
		"hard link to a lower layer":   {upper: []tartest.WriterToTar{tc.Link("d/k", "x")}, refused: "only a lower layer has that file"},
		"file below its whiteout":      {upper: []tartest.WriterToTar{f(".wh.d"), f("d/new")}, refused: "the layer has another file there, or deletes it"},
	}
}

// TestOddLayers: bases with layers that containerd's snapshotters understand in different ways give one digest
// everywhere, by every reader, with a warning; what a delta and a squash make of them shows the same files; verify is content.
func TestOddLayers(t *testing.T) {
	harness.RequireRoot(t)
	tc := tartest.TarContext{}.WithModTime(time.Unix(1_600_000_000, 0))
	f := func(name string) tartest.WriterToTar { return tc.File(name, []byte(name), 0o644) }
	lower := []tartest.WriterToTar{tc.Dir("d", 0o755), f("d/k"), tc.Dir("d/s", 0o755), tc.Dir("d/s/t", 0o755), f("d/s/t/old"), tc.Symlink("d", "l")}
	top := []tartest.WriterToTar{f("z")}
	for name, c := range oddCases() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := tarFiles(t, [][]tartest.WriterToTar{lower, c.upper, top})
			low, odd := filepath.Join(dir, "low.tar"), filepath.Join(dir, "odd.tar")
			must(t, harness.WriteImage(low, harness.Image{Layers: files[:1]}), harness.WriteImage(odd, harness.Image{Layers: files}))
			same := agreement{}
			for _, snapshotter := range []string{"overlayfs", "native"} {
				t.Run(snapshotter, func(t *testing.T) {
					p := newPlace(t, nil, snapshotter)
					p.load(t, low, "low:1")
					if c.refused != "" {
						p.oddRefused(t, c, odd)
						return
					}
					p.load(t, odd, "odd:1")
					p.oddBuilds(t, c, same)
					p.oddDeltas(t, c, same)
				})
			}
		})
	}
}

// oddRefused: overlayfs's error says why, and what can be unpacked elsewhere is built upon with a warning.
func (p *place) oddRefused(t *testing.T, c oddCase, archive string) {
	t.Helper()
	f, err := os.Open(archive)
	must(t, err)
	defer f.Close()
	_, err = veneer.Load(p.ctx, p.engine, f, veneer.LoadRequest{Names: []string{"odd:1"}})
	if p.engine.Snapshotter == "overlayfs" {
		if err == nil || !strings.Contains(err.Error(), c.refused) {
			t.Errorf("load: %v, want %q", err, c.refused)
		}
		return
	}
	must(t, err)
	src := t.TempDir()
	write(t, filepath.Join(src, "f"), "f\n")
	res := p.build(t, veneer.BuildRequest{Base: "odd:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/f"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}}})
	if w := noticeTexts(res.Warnings); !strings.Contains(w, c.refused) || !strings.Contains(w, "overlayfs") {
		t.Errorf("warnings %q, want %q", w, c.refused)
	}
}

func (p *place) oddBuilds(t *testing.T, c oddCase, same agreement) {
	t.Helper()
	src := t.TempDir()
	write(t, filepath.Join(src, "f"), "f\n")
	must(t, os.Chtimes(filepath.Join(src, "f"), time.Unix(1_600_000_000, 0), time.Unix(1_600_000_000, 0)))
	must(t, os.Chtimes(src, time.Unix(1_600_000_000, 0), time.Unix(1_600_000_000, 0)))
	target := veneer.TargetSpec{Op: differ.Copy, Source: filepath.Join(src, "f"), Dest: "/l/x"}
	for _, reader := range []veneer.ReaderKind{veneer.ReadAuto, veneer.ReadIndex} {
		for range 2 { // The second one remembers.
			res := p.build(t, veneer.BuildRequest{Base: "odd:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{target}}, ReadOptions: veneer.ReadOptions{Reader: reader}, ImageOptions: veneer.ImageOptions{Tags: []string{"new:1"}}})
			same.check(t, "build", res.Digest.String())
			warned := strings.Contains(noticeTexts(res.Warnings), "not the same on overlayfs")
			if index := reader == veneer.ReadIndex || p.engine.Snapshotter == "native"; index && warned != c.disagree {
				t.Errorf("warnings %q", res.Warnings)
			}
		}
	}
	for _, name := range []string{"odd:1", "new:1"} {
		res := p.verify(t, veneer.VerifyRequest{Image: name})
		if name == "new:1" && c.disagree && p.engine.Snapshotter == "native" {
			continue // It may show what is neither.
		}
		if res.Errors > 0 || (res.Warnings > 0) != c.disagree {
			t.Errorf("verify %s: %v", name, findingTexts(res))
		}
	}
}

// oddDeltas: the layers of a delta and a squash, which snapshotters do not disagree upon, show what overlayfs did.
func (p *place) oddDeltas(t *testing.T, c oddCase, same agreement) {
	t.Helper()
	res := p.delta(t, veneer.DeltaRequest{Base: "scratch", Full: "odd:1", ImageOptions: veneer.ImageOptions{Tags: []string{"delta:1"}}})
	same.check(t, "delta", res.Digest.String())
	squashed, err := veneer.Squash(p.ctx, p.engine, veneer.SquashRequest{Base: "odd:1", Onto: "low:1", LayerOptions: veneer.LayerOptions{Epoch: &epoch}, ImageOptions: veneer.ImageOptions{Tags: []string{"squash:1"}}})
	must(t, err)
	same.check(t, "squash", squashed.Digest.String())
	for _, name := range []string{"delta:1", "squash:1"} {
		diff, err := veneer.SameRootfs(p.ctx, p.engine, veneer.SameRequest{A: "odd:1", B: name})
		must(t, err)
		if !diff.Same {
			t.Errorf("%s differs: %+v", name, diff.Differences)
		}
		if res := p.verify(t, veneer.VerifyRequest{Image: name}); res.Errors > 0 {
			t.Errorf("verify %s: %v", name, findingTexts(res))
		}
		img, err := content.Resolve(p.ctx, p.engine.Client, name, "")
		must(t, err)
		got := p.describe(t, img.ChainID, "", false)
		if c.shows != "" && got[c.shows] == "" {
			t.Errorf("%s lacks %s", name, c.shows)
		}
		if c.hides != "" && got[c.hides] != "" {
			t.Errorf("%s has %s", name, c.hides)
		}
	}
}
