package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// twoVersions makes app:1 and app:2 on Debian. Of a large file some bytes are others, one has moved, one is new, and one
// is a copy of a file of Debian's.
func (p *place) twoVersions(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 17))
	program := make([]byte, 2<<20)
	for i := range program {
		program[i] = byte(r.Uint32())
	}
	licence := command(t, "tar", "-xOf", harness.DebianRootfs(t), "./usr/share/common-licenses/GPL-3")
	write(t, filepath.Join(dir, "1", "program"), string(program))
	write(t, filepath.Join(dir, "1", "lib", "moved"), string(program[:300_000]))
	for i := 1000; i < len(program); i += 50_000 {
		program[i]++
	}
	write(t, filepath.Join(dir, "2", "program"), string(program))
	write(t, filepath.Join(dir, "2", "share", "moved"), string(program[:300_000]))
	write(t, filepath.Join(dir, "2", "licence"), licence)
	write(t, filepath.Join(dir, "2", "new"), "new\n")
	p.loadDebian(t)
	for i, base := range []string{"debian:12", "app:1"} {
		n := string(rune('1' + i))
		p.build(t, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Sync, Source: filepath.Join(dir, n), Dest: "/app"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"app:" + n}}})
	}
}

// saveDelta writes the archive of a delta below the file.
func (p *place) saveDelta(t *testing.T, image string, since ...string) ([]byte, *veneer.SavedDelta) {
	t.Helper()
	var buf bytes.Buffer
	saved, err := veneer.SaveDelta(p.ctx, p.engine, &buf, veneer.SaveDeltaRequest{Image: image, Since: since})
	must(t, err)
	if int64(buf.Len()) != saved.ArchiveBytes || len(saved.Warnings) > 0 {
		t.Errorf("%d bytes of %+v", buf.Len(), saved)
	}
	return buf.Bytes(), saved
}

// TestSaveDelta: everywhere the same archive comes out, from the snapshots and from the layers. Another implementation of
// tar-diff makes the very layer of it and of the old image's files, as a third one has unpacked them.
func TestSaveDelta(t *testing.T) {
	harness.RequireRoot(t)
	same := agreement{}
	test := func(t *testing.T, p *place) {
		p.twoVersions(t)
		data, saved := p.saveDelta(t, "app:2", "app:1")
		same.check(t, "archive", digest.FromBytes(data).String())
		last := saved.Layers[len(saved.Layers)-1]
		if saved.Left != 2 || last.As != "diff" || last.Bytes > 4_000 || !strings.HasPrefix(last.Generation, "veneer-gzip.") {
			t.Errorf("saved %+v", saved)
		}
		t.Logf("a layer of %d bytes by a delta of %d, in an archive of %d", last.Size, last.Bytes, saved.ArchiveBytes)
		if p.daemon != nil {
			return
		}
		old, err := content.Resolve(p.ctx, p.engine.Client, "app:1", "")
		must(t, err)
		wantPatched(t, data, harness.Unpack(t, p.layout(t, old.Manifest), old.Manifest.Digest.String()))

		// Without its snapshot, the old image is read from its layers.
		next, err := content.Resolve(p.ctx, p.engine.Client, "app:2", "")
		must(t, err)
		snapshots := p.engine.Client.SnapshotService(p.engine.Snapshotter)
		must(t, snapshots.Remove(p.ctx, next.ChainID.String()), snapshots.Remove(p.ctx, old.ChainID.String()))
		fromLayers, _ := p.saveDelta(t, "app:2", "app:1")
		same.check(t, "archive", digest.FromBytes(fromLayers).String())
	}
	t.Run("embedded", func(t *testing.T) { test(t, embedded(t)) })
	for i, kind := range harness.Daemons(t) {
		if i > 0 && !soak() {
			continue // One daemon is enough for a short form.
		}
		t.Run(string(kind), func(t *testing.T) { test(t, newPlace(t, harness.Start(t, kind), "overlayfs")) })
	}
}

// TestSaveDeltaOfNothing: an image whose files are gone is an error that says how to get them.
func TestSaveDeltaOfNothing(t *testing.T) {
	p := embedded(t)
	p.twoStates(t, false)
	old, err := content.Resolve(p.ctx, p.engine.Client, "app:1", "")
	must(t, err)
	must(t, p.engine.Client.ContentStore().Delete(p.ctx, old.Layers[1].Digest))
	_, err = veneer.SaveDelta(p.ctx, p.engine, io.Discard, veneer.SaveDeltaRequest{Image: "app:2", Since: []string{"app:1"}})
	if !errors.Is(err, veneer.ErrNoFiles) || veneer.Errors(err)[0].Ref != "docker.io/library/app:1" {
		t.Errorf("without a snapshot and without a layer: %v", err)
	}
}

// deltaArchive is the archive of a delta, extracted.
type deltaArchive struct {
	dir      string
	manifest ocispec.Manifest // of the delta
	image    ocispec.Manifest
	config   ocispec.Image
}

func extractDelta(t *testing.T, data []byte) (a deltaArchive, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "delta.tar")
	must(t, os.WriteFile(file, data, 0o600))
	a.dir = harness.Extract(t, file)
	var index ocispec.Index
	a.read(t, filepath.Join(a.dir, "index.json"), &index)
	a.read(t, a.blob(index.Manifests[0].Digest), &a.manifest)
	a.read(t, a.blob(a.manifest.Layers[0].Digest), &a.image)
	a.read(t, a.blob(a.manifest.Layers[1].Digest), &a.config)
	return a, file
}

func (a *deltaArchive) read(t *testing.T, file string, to any) {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err, json.Unmarshal(data, to))
}

func (a *deltaArchive) blob(d digest.Digest) string {
	return filepath.Join(a.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

// wantPatched has tar-diff apply the deltas of layers to a root file system.
func wantPatched(t *testing.T, data []byte, rootfs string) {
	t.Helper()
	a, _ := extractDelta(t, data)
	applied := 0
	for _, l := range a.manifest.Layers {
		if l.MediaType != "application/vnd.tar-diff" {
			continue
		}
		for i, target := range a.image.Layers {
			if target.Digest.String() != l.Annotations["io.github.containers.delta.to"] {
				continue
			}
			out := filepath.Join(t.TempDir(), "layer.tar")
			must(t, harness.TarPatch(t, a.blob(l.Digest), rootfs, out))
			tar, err := os.ReadFile(out)
			must(t, err)
			if got := digest.FromBytes(tar); got != a.config.RootFS.DiffIDs[i] {
				t.Errorf("tar-diff makes %s of layer %s, and its diff ID is %s", got, target.Digest, a.config.RootFS.DiffIDs[i])
			}
			if size := l.Annotations["build.veneer.delta.size"]; size != fmt.Sprint(len(tar)) {
				t.Errorf("the tar has %d bytes, and the annotation says %q", len(tar), size)
			}
			applied++
		}
	}
	if applied == 0 {
		t.Error("there is no delta of a layer")
	}
}
