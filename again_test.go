package veneer_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/differ"
)

// stepFiles counts the files of each step.
type stepFiles struct {
	at    string
	files map[string]int64
}

func (s *stepFiles) Step(step veneer.Step) { s.at = step.Kind }
func (s *stepFiles) Count(files, _ int64)  { s.files[s.at] += files }
func (s *stepFiles) Done()                 {}

// TestSameBuildAgain: a layer that an earlier build wrote is not written again, as
// long as the engine has it and nothing that it depends on is another.
func TestSameBuildAgain(t *testing.T) {
	root, src := t.TempDir(), t.TempDir()
	e := openEmbedded(t, root)
	write(t, src, "a", "content of a")
	write(t, src, "b", "content of b")
	if err := errors.Join(os.Symlink("a", filepath.Join(src, "l")), os.Link(filepath.Join(src, "a"), filepath.Join(src, "h"))); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3100 * time.Millisecond) // Younger files are not remembered.
	build := func(edit func(*veneer.BuildRequest)) (res *veneer.Result, written int64) {
		t.Helper()
		p := &stepFiles{files: map[string]int64{}}
		req := veneer.BuildRequest{
			Base:          "scratch",
			TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: src, Dest: "/app"}}},
			ImageOptions:  veneer.ImageOptions{Tags: []string{"made"}},
			Reports:       veneer.Reports{Progress: p},
		}
		if edit != nil {
			edit(&req)
		}
		return mustBuild(t, e, req), p.files["layer"]
	}
	first, written := build(nil)
	if written == 0 {
		t.Fatal("the first build wrote no layer")
	}
	again, written := build(nil)
	if written != 0 || again.Layer == nil || *again.Layer != *first.Layer {
		t.Errorf("again: %d files written, %+v, want %+v", written, again.Layer, first.Layer)
	}
	epoch := time.Unix(1, 0)
	for name, edit := range map[string]func(*veneer.BuildRequest){
		"compression": func(r *veneer.BuildRequest) { r.Compression = "zstd" },
		"level":       func(r *veneer.BuildRequest) { r.CompressionLevel = 1 },
		"times":       func(r *veneer.BuildRequest) { r.Epoch = &epoch },
		"place":       func(r *veneer.BuildRequest) { r.Targets[0].Dest = "/other" },
		"no cache":    func(r *veneer.BuildRequest) { r.NoCache = true },
	} {
		if res, written := build(edit); written == 0 || name != "no cache" && res.Layer.Digest == first.Layer.Digest {
			t.Errorf("with another %s: %d files written, %s", name, written, res.Layer.Digest)
		}
	}
	if err := os.Chmod(filepath.Join(src, "b"), 0o750); err != nil {
		t.Fatal(err)
	}
	if res, written := build(nil); written == 0 || res.Layer.Digest == first.Layer.Digest {
		t.Errorf("with another mode: %d files written, %s", written, res.Layer.Digest)
	}
	// The blob went with its image.
	if err := os.Chmod(filepath.Join(src, "b"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := veneer.Remove(e.Context(t.Context()), e, "made", false); err != nil {
		t.Fatal(err)
	}
	if err := e.CollectGarbage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res, written := build(nil); written == 0 || res.Layer.Digest != first.Layer.Digest {
		t.Errorf("when the blob is gone: %d files written, %s, want %s", written, res.Layer.Digest, first.Layer.Digest)
	}
}
