package veneer_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// TestWrongListingIsForgotten: what is remembered of a base's directory is not what is there any more. It is read
// again, and the next build finds that remembered.
func TestWrongListingIsForgotten(t *testing.T) {
	harness.RequireRoot(t)
	root, src := t.TempDir(), t.TempDir()
	e := openEmbedded(t, root)
	write(t, src, "dir/a", "content of a")
	write(t, src, "dir/b", "content of b")
	req := veneer.BuildRequest{
		Base:          "base",
		TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/app"}}},
		ReadOptions:   veneer.ReadOptions{Reader: veneer.ReadView},
		ImageOptions:  veneer.ImageOptions{Tags: []string{"next"}},
	}
	mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: req.Targets}, ImageOptions: veneer.ImageOptions{Tags: []string{"base"}}})
	if res := mustBuild(t, e, req); !res.Unchanged {
		t.Fatalf("changes %+v", res.Changes)
	}
	var files []string
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(filepath.Dir(name), "/app/dir") {
			files = append(files, name)
		}
		return err
	})
	if err != nil || len(files) != 2 {
		t.Fatalf("the snapshot's files: %q, %v", files, err)
	}
	// The one file is another one with other content, the other is gone.
	again := filepath.Join(filepath.Dir(files[0]), "new")
	if err := errors.Join(os.WriteFile(again, []byte("CONTENT OF A"), 0o644), os.Rename(again, files[0]), os.Remove(files[1])); err != nil {
		t.Fatal(err)
	}
	write(t, src, "dir/a", "content of A")
	write(t, src, "dir/b", "content of B")
	for range 2 {
		if res := mustBuild(t, e, req); res.Changes.Modified.Count != 1 || res.Changes.Added.Count != 1 {
			t.Errorf("changes %+v", res.Changes)
		}
	}
}
