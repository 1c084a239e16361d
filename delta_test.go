package veneer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/config"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// deltaImages makes "base:1" and "full:1", of unlike layers, and returns the directory whose files full:1 has.
func deltaImages(t *testing.T, e *engine.Engine) string {
	t.Helper()
	base, full := t.TempDir(), t.TempDir()
	for _, dir := range []string{base, full} {
		write(t, dir, "same", "same in both")
		write(t, dir, "later", "of another time")
		write(t, dir, "linked/one", "one file")
		write(t, dir, "kind", "a file")
		write(t, dir, "attr/f", "f")
		age(t, dir, 1000)
	}
	write(t, base, "gone/with/all", "x")
	write(t, base, "lib/x", "lib")
	attr := func(p string) {
		if err := unix.Lsetxattr(p, "user.x", []byte("1"), 0); err != nil {
			t.Skipf("the file system has no attributes of users: %v", err)
		}
	}
	attr(filepath.Join(base, "attr"))
	attr(filepath.Join(full, "same"))
	err := os.Remove(filepath.Join(full, "kind"))
	if err == nil {
		err = os.Link(filepath.Join(full, "linked/one"), filepath.Join(full, "linked/two"))
	}
	if err == nil {
		err = os.Symlink("usr/lib", filepath.Join(full, "lib"))
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(full, "kind"), 0o2750)
	}
	if err == nil {
		err = os.Chtimes(filepath.Join(full, "later"), time.Unix(2000, 0), time.Unix(2000, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, full, "usr/lib/x", "lib")
	all := func(dir string) []veneer.TargetSpec {
		return []veneer.TargetSpec{{Op: differ.Copy, Source: dir, Dest: "/", Owner: "source"}}
	}
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: all(base)}, ImageOptions: veneer.ImageOptions{Tags: []string{"base:1"}, Config: config.Edit{Changes: []string{"ENV A=base", "CMD base"}}}})
	half := t.TempDir()
	write(t, half, "same", "other")
	write(t, half, "junk", "other")
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: all(half)}, ImageOptions: veneer.ImageOptions{Tags: []string{"half:1"}}})
	mustBuild(t, e, veneer.BuildRequest{
		Base:          "half:1",
		TargetOptions: veneer.TargetOptions{Targets: append(all(full), veneer.TargetSpec{Op: differ.Delete, Dest: "/junk"})},
		ImageOptions:  veneer.ImageOptions{Tags: []string{"full:1"}, Config: config.Edit{Changes: []string{"ENV A=full", "CMD full"}}, Annotations: map[string]string{"of": "full"}},
	})
	return full
}

// age gives all below a directory one time.
func age(t *testing.T, dir string, seconds int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(p, time.Unix(seconds, 0), time.Unix(seconds, 0))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func mustDelta(t *testing.T, e *engine.Engine, req veneer.DeltaRequest) *veneer.Result {
	t.Helper()
	res, err := veneer.Delta(t.Context(), e, req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// wantSameFiles has the files of two images compared, times too.
func wantSameFiles(t *testing.T, e *engine.Engine, one, other string) {
	t.Helper()
	res, err := veneer.SameRootfs(t.Context(), e, veneer.SameRequest{A: one, B: other, Times: true})
	if err != nil || !res.Same {
		t.Errorf("%s and %s differ: %+v, %v", one, other, res, err)
	}
}

func resolve(t *testing.T, e *engine.Engine, ref string) *content.Image {
	t.Helper()
	img, err := content.Resolve(e.Context(t.Context()), e.Client, ref, "")
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestDelta(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	deltaImages(t, e)
	res := mustDelta(t, e, veneer.DeltaRequest{Base: "base:1", Full: "full:1", ImageOptions: veneer.ImageOptions{Tags: []string{"app:2"}}})
	base, full, got := resolve(t, e, "base:1"), resolve(t, e, "full:1"), resolve(t, e, "app:2")
	if len(got.Layers) != len(base.Layers)+1 || !slices.Equal(got.DiffIDs[:1], base.DiffIDs) || res.Layer == nil || got.DiffIDs[1] != res.Layer.DiffID {
		t.Errorf("layers %v on %v", got.DiffIDs, base.DiffIDs)
	}
	if h := got.Config.History; len(h) != len(base.Config.History)+1 || h[0].CreatedBy != base.Config.History[0].CreatedBy || h[len(h)-1].CreatedBy != "veneer DELTA "+full.Manifest.Digest.String() {
		t.Errorf("history %+v", h)
	}
	if c := got.Config.Config; !slices.Equal(c.Cmd, full.Config.Config.Cmd) || !slices.Equal(c.Env, full.Config.Config.Env) {
		t.Errorf("config %+v", c)
	}
	if !strings.Contains(string(got.ManifestJSON), `"of":"full"`) {
		t.Errorf("manifest %s", got.ManifestJSON)
	}
	wantSameFiles(t, e, "app:2", "full:1")

	kept := mustDelta(t, e, veneer.DeltaRequest{Base: "base:1", Full: "full:1", KeepConfig: true, ImageOptions: veneer.ImageOptions{Tags: []string{"kept:2"}}})
	if img := resolve(t, e, "kept:2"); !slices.Equal(img.Config.Config.Env, base.Config.Config.Env) || kept.Layer.Digest != res.Layer.Digest {
		t.Errorf("kept config %+v", img.Config.Config)
	}
	same := mustDelta(t, e, veneer.DeltaRequest{Base: "app:2", Full: "full:1", ImageOptions: veneer.ImageOptions{Tags: []string{"app:3"}}})
	if same.Layer != nil || same.Unchanged {
		t.Errorf("equal files: %+v", same)
	}
	flat := mustDelta(t, e, veneer.DeltaRequest{Base: "scratch", Full: "full:1", ImageOptions: veneer.ImageOptions{Tags: []string{"flat:1"}}})
	if flat.Layer == nil || len(resolve(t, e, "flat:1").Layers) != 1 {
		t.Errorf("on scratch: %+v", flat)
	}
	wantSameFiles(t, e, "flat:1", "full:1")
}

func TestDeltaIgnoresTimes(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	src := t.TempDir()
	write(t, src, "f", "f")
	for i, tag := range []string{"old", "new"} {
		age(t, src, int64(i+1)*1000)
		mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/d"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{tag}}})
	}
	req := veneer.DeltaRequest{Base: "old", Full: "new", ImageOptions: veneer.ImageOptions{Tags: []string{"x"}}}
	if res := mustDelta(t, e, req); res.Changes.Modified.Count != 2 || res.Changes.MetadataOnly.Bytes != 1 {
		t.Errorf("with times: %+v", res.Changes)
	}
	req.IgnoreTimes = true
	if res := mustDelta(t, e, req); res.Layer != nil {
		t.Errorf("without: %+v", res.Changes)
	}
}

func TestDeltaRefused(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	src := t.TempDir()
	write(t, src, "f", "f")
	all := []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/"}}
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: all}, ImageOptions: veneer.ImageOptions{Tags: []string{"here"}}})
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: all}, ReadOptions: veneer.ReadOptions{Platform: "linux/s390x"}, ImageOptions: veneer.ImageOptions{Tags: []string{"mainframe"}}})
	junk := filepath.Join(src, "f")
	for what, c := range map[string]struct{ base, full, platform, says string }{
		"no base":         {"absent", "here", "", `no image "absent"`},
		"no full":         {"here", "absent", "", `no image "absent"`},
		"full is scratch": {"here", "scratch", "", "scratch has no files"},
		"nothing given":   {"here", "", "", "no full image"},
		"other platforms": {"here", "mainframe", "", "here:latest is for linux/"},
		"not for it":      {"here", "here", "linux/s390x", "not for linux/s390x"},
		"no layout":       {"here", "oci:" + src, "", "holds no image"},
		"no such layout":  {"here", "oci:/nowhere/at/all", "", "no such file"},
		"no archive":      {"archive:" + junk, "here", "", "archive"},
		"no such archive": {"archive:/nowhere.tar", "here", "", "no such file"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := veneer.Delta(t.Context(), e, veneer.DeltaRequest{Base: c.base, Full: c.full, ReadOptions: veneer.ReadOptions{Platform: c.platform}, ImageOptions: veneer.ImageOptions{Tags: []string{"out"}}})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			if _, err := content.Resolve(e.Context(t.Context()), e.Client, "out", ""); err == nil {
				t.Error("a name was recorded")
			}
		})
	}
}

// Between archives, with no engine but a temporary one: the digest is that of an engine's delta.
func TestDeltaOfArchives(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	deltaImages(t, e)
	dir := t.TempDir()
	export := func(name, file string) string {
		var data bytes.Buffer
		img := resolve(t, e, name)
		if _, err := archive.Export(e.Context(t.Context()), e.Client.ContentStore(), &data, []archive.Item{{Names: []string{img.Name}, Target: img.Manifest}}, archive.ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		file = filepath.Join(dir, file)
		if err := os.WriteFile(file, data.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	base := export("base:1", "base:1.tar")
	full := filepath.Join(dir, "full")
	img := resolve(t, e, "full:1")
	if _, err := archive.ExportLayout(e.Context(t.Context()), e.Client.ContentStore(), full, []archive.Item{{Names: []string{img.Name}, Target: img.Manifest}}, archive.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	here := mustDelta(t, e, veneer.DeltaRequest{Base: "base:1", Full: "full:1", LayerOptions: veneer.LayerOptions{Epoch: epoch(5)}, ImageOptions: veneer.ImageOptions{NoUnpack: true}})

	temp, closeAll, err := veneer.OpenTemporary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	var stream bytes.Buffer
	res, err := veneer.Delta(t.Context(), temp, veneer.DeltaRequest{
		Base:         "archive:" + base,
		Full:         "oci:" + full + ":full:1",
		Layout:       out,
		Archive:      &stream,
		LayerOptions: veneer.LayerOptions{Epoch: epoch(5)},
		ImageOptions: veneer.ImageOptions{Tags: []string{"app:2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Layer.DiffID != here.Layer.DiffID {
		t.Errorf("layer %s, from the engine's images %s", res.Layer.DiffID, here.Layer.DiffID)
	}
	if err := closeAll(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(temp.Root); err == nil {
		t.Errorf("%s was left", temp.Root)
	}
	layout, err := archive.OpenLayout(out)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range []io.Reader{layout, &stream} {
		name := []string{"layout:1", "stream:1"}[i]
		if _, err := archive.Import(e.Context(t.Context()), e.Client, r, archive.Options{Names: []string{name}}); err != nil {
			t.Fatal(err)
		}
		if got := resolve(t, e, name); got.Manifest.Digest != res.Digest {
			t.Errorf("%s is %s, want %s", name, got.Manifest.Digest, res.Digest)
		}
		wantSameFiles(t, e, name, "full:1")
	}
	var names struct {
		Manifests []struct{ Annotations map[string]string }
	}
	index, err := os.ReadFile(filepath.Join(out, "index.json"))
	if err == nil {
		err = json.Unmarshal(index, &names)
	}
	if err != nil || names.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/library/app:2" {
		t.Errorf("index %s, %v", index, err)
	}
}

func TestParseArchiveRef(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a:b.tar")
	write(t, dir, "a:b.tar", "")
	for ref, want := range map[string]veneer.ArchiveRef{
		"oci:" + dir:                 {Layout: true, Path: dir},
		"oci:" + dir + ":app:1":      {Layout: true, Path: dir, Name: "app:1"},
		"archive:" + file:            {Path: file},
		"archive:" + file + ":r/n:1": {Path: file, Name: "r/n:1"},
		"archive:/absent:x":          {Path: "/absent:x"},
		"oci:":                       {},
		"ocix:1":                     {},
		"docker.io/library/oci:1":    {},
	} {
		got, ok := veneer.ParseArchiveRef(ref)
		if ok != (want.Path != "") || ok && got != want {
			t.Errorf("%s: %+v, %v; want %+v", ref, got, ok, want)
		}
	}
}

func TestDeltaCancelled(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	deltaImages(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := veneer.Delta(ctx, e, veneer.DeltaRequest{Base: "base:1", Full: "full:1", ImageOptions: veneer.ImageOptions{Tags: []string{"x"}}}); err == nil {
		t.Error("made a delta after the end")
	}
}
