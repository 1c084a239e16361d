package veneer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// sourceImages makes the images "from", with a tree and links in it, and "onto", of one old file.
func sourceImages(t *testing.T, e *engine.Engine) {
	t.Helper()
	src, old := t.TempDir(), t.TempDir()
	write(t, src, "real/app/bin/run", "new")
	write(t, src, "real/app/conf", strings.Repeat("conf ", 1000))
	write(t, old, "bin/run", "old")
	write(t, old, "gone", "gone")
	if err := os.Symlink("/real/app", filepath.Join(src, "app")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../outside", filepath.Join(src, "real/up")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(src, "real/app/conf"), filepath.Join(src, "real/app/conf2")); err != nil {
		t.Fatal(err)
	}
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: src, Dest: "/", Chown: "7:8"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"from"}}})
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: old, Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"onto"}}})
}

func fromImage(op differ.Op, src, dest string) veneer.TargetSpec {
	return veneer.TargetSpec{Op: op, Type: veneer.SourceImage, Ref: "from", Source: src, Dest: dest}
}

// Read in place or out of blobs, by whatever path, the result is the same.
func TestImageAsSource(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	sourceImages(t, e)
	var digests []string
	for _, reader := range []veneer.ReaderKind{veneer.ReadAuto, veneer.ReadIndex, veneer.ReadView} {
		for _, src := range []string{"/app", "/app/", "real/app", "/real/../app/."} {
			res := mustBuild(t, e, veneer.BuildRequest{
				Base:          "onto",
				TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{fromImage(differ.Sync, src, "/app")}},
				ReadOptions:   veneer.ReadOptions{Reader: reader},
				LayerOptions:  veneer.LayerOptions{Epoch: epoch(0)},
				ImageOptions:  veneer.ImageOptions{Tags: []string{"out"}},
			})
			if c := res.Changes; c.Added.Count != 2 || c.Modified.Count != 3 || c.Deleted.Count != 1 {
				t.Errorf("%q read as %q: %+v", src, reader, c)
			}
			digests = append(digests, string(res.Layer.Digest))
		}
	}
	for _, d := range digests {
		if d != digests[0] {
			t.Errorf("layers differ: %v", digests)
			break
		}
	}
	diff, err := veneer.Diff(t.Context(), e, veneer.DiffRequest{Base: "out", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Type: veneer.SourceImage, Ref: "from", Source: "/real/app", Dest: "/app"}}}})
	if err != nil || len(diff.Changes) > 0 {
		t.Errorf("owners, links and content are not the source's: %+v, %v", diff, err)
	}
}

func TestImageFileAsSource(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	sourceImages(t, e)
	for _, reader := range []veneer.ReaderKind{veneer.ReadAuto, veneer.ReadIndex} {
		for dest, want := range map[string]string{"/app/bin/run": "/app/bin/run", "/opt/": "/opt/run", "/app/bin": "/app/bin/run"} {
			diff, err := veneer.Diff(t.Context(), e, veneer.DiffRequest{Base: "onto", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{fromImage(differ.Copy, "/app/bin/run", dest)}}, ReadOptions: veneer.ReadOptions{Reader: reader}})
			if err != nil || len(diff.Changes) == 0 || diff.Changes[len(diff.Changes)-1].Path != want {
				t.Errorf("to %s: %+v, %v; want %s", dest, diff, err, want)
			}
		}
	}
}

func TestImageSourceRefused(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	sourceImages(t, e)
	for what, c := range map[string]struct {
		spec veneer.TargetSpec
		says string
	}{
		"no such image":  {veneer.TargetSpec{Type: veneer.SourceImage, Ref: "absent", Source: "/", Dest: "/"}, `no image "absent"`},
		"no such path":   {fromImage(differ.Copy, "/nothing", "/"), `"/nothing": not found`},
		"not a dir":      {fromImage(differ.Copy, "/app/conf/", "/"), "not a directory"},
		"through a file": {fromImage(differ.Copy, "/app/conf/x", "/"), "not a directory"},
		"out of it":      {fromImage(differ.Copy, "/real/up", "/"), `"/real/up": not found`},
		"scratch":        {veneer.TargetSpec{Type: veneer.SourceImage, Ref: "scratch", Source: "/", Dest: "/"}, "no files"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := veneer.Build(t.Context(), e, veneer.BuildRequest{Base: "onto", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{c.spec}}})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func epoch(seconds int64) *time.Time {
	t := time.Unix(seconds, 0)
	return &t
}
