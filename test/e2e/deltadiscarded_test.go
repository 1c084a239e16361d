package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/test/harness"
)

// TestLoadDeltaDiscarded: where containerd has discarded the old image's blobs, a layer whose blob cannot be made again is
// unpacked all the same: the image is the same, and has its layer as a snapshot. So is one whose blob could be made.
// An engine that has the old image's blobs says which layer cannot be made, and so does one that is not to unpack.
func TestLoadDeltaDiscarded(t *testing.T) {
	m := &patches{place: embedded(t), dir: t.TempDir()}
	old, next := special(t, t.TempDir())
	m.image(t, "scratch", "old:1", old)
	m.image(t, "old:1", "new:1", next)
	from := m.patch(t, "new:1", next, "old:1")
	unknown := "oci:" + withoutGeneration(t, from.file)
	eachEngine(t, func(t *testing.T, p *place) {
		before := p.stored(t)
		load := func(file string, req veneer.LoadRequest) (*veneer.Loaded, error) {
			r, err := veneer.OpenArchive(p.ctx, file)
			must(t, err)
			defer r.Close()
			return veneer.Load(p.ctx, p.engine, r, req)
		}
		_, err := load(from.olds[0], veneer.LoadRequest{})
		must(t, err)
		if _, err := load(unknown, veneer.LoadRequest{}); !errors.Is(err, veneer.ErrNotRebuilt) {
			t.Errorf("with the old image's blobs: %v", err)
		}
		p.discard(t, "old:1")
		if _, err := load(unknown, veneer.LoadRequest{NoUnpack: true}); !errors.Is(err, veneer.ErrNotRebuilt) {
			t.Errorf("not to be unpacked: %v", err)
		}
		discarded := p.stored(t)
		got, err := load(unknown, veneer.LoadRequest{})
		must(t, err)
		if got.Images[0].Target.Digest != from.digest || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0].Text, "2 of its layers are here as a snapshot only") {
			t.Errorf("loaded %+v, want %s", got, from.digest)
		}
		p.wantFiles(t, from)
		p.collect(t)
		if more := len(p.stored(t)) - len(discarded); more != 3 { // manifest, config, snapshot
			t.Errorf("it stored %d things: %v", more, p.stored(t))
		}
		p.remove(t, "new:1")
		got, err = load(from.file, veneer.LoadRequest{})
		must(t, err)
		if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0].Text, "2 of its layers") {
			t.Errorf("loaded %+v", got)
		}
		p.wantFiles(t, from)
		p.collect(t)
		if more := len(p.stored(t)) - len(discarded); more != 3 {
			t.Errorf("it stored %d things: %v", more, p.stored(t))
		}
		p.removeAll(t, before, "old:1", "new:1")
	})
}

// withoutGeneration unpacks an archive of a delta, and takes away what compresses its layers.
func withoutGeneration(t *testing.T, file string) string {
	t.Helper()
	dir := harness.Extract(t, file)
	must(t, os.Remove(filepath.Join(dir, "SHA256SUMS")))
	blob := func(d digest.Digest) string { return filepath.Join(dir, "blobs", "sha256", d.Encoded()) }
	var index ocispec.Index
	readJSON(t, filepath.Join(dir, "index.json"), &index)
	var manifest ocispec.Manifest
	readJSON(t, blob(index.Manifests[0].Digest), &manifest)
	for _, l := range manifest.Layers {
		delete(l.Annotations, "build.veneer.delta.generation")
	}
	must(t, os.Remove(blob(index.Manifests[0].Digest)))
	data, err := json.Marshal(manifest)
	must(t, err)
	index.Manifests[0].Digest, index.Manifests[0].Size = digest.FromBytes(data), int64(len(data))
	must(t, os.WriteFile(blob(index.Manifests[0].Digest), data, 0o644))
	data, err = json.Marshal(index)
	must(t, err, os.Chmod(filepath.Join(dir, "index.json"), 0o644), os.WriteFile(filepath.Join(dir, "index.json"), data, 0o644))
	return dir
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err, json.Unmarshal(data, v))
}
