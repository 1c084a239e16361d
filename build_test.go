package veneer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// openEmbedded opens an embedded engine of the test's own.
func openEmbedded(t *testing.T, root string) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Options{Mode: engine.Embedded, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func mustBuild(t *testing.T, e *engine.Engine, req veneer.BuildRequest) *veneer.Result {
	t.Helper()
	res, err := veneer.Build(t.Context(), e, req)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range res.Warnings {
		t.Log("warning:", w)
	}
	return res
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBuildOnScratchAndAgain(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	src := t.TempDir()
	write(t, src, "bin/app", "one")
	write(t, src, "lib/a", "a")
	sync := veneer.TargetSpec{Op: differ.Sync, Source: src, Dest: "/app"}
	v1 := mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{sync}}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:1"}}})
	if v1.Changes.Added.Count != 5 {
		t.Errorf("added %+v, want 5 paths", v1.Changes.Added)
	}
	same := mustBuild(t, e, veneer.BuildRequest{Base: "app:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{sync}}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:same"}}})
	if !same.Unchanged || same.Layer != nil || same.Digest != v1.Digest {
		t.Errorf("an unchanged build gave %+v", same)
	}
	write(t, src, "bin/app", "two")
	if err := os.Remove(filepath.Join(src, "lib/a")); err != nil {
		t.Fatal(err)
	}
	v2 := mustBuild(t, e, veneer.BuildRequest{Base: "app:1", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{sync}}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:2"}}})
	if v2.Changes.Modified.Count != 1 || v2.Changes.Deleted.Count != 1 || v2.Changes.Added.Count != 0 {
		t.Errorf("changes %+v", v2.Changes)
	}
	t.Logf("%+v", v2)
}
