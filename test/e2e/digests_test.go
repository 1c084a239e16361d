package e2e

import (
	"archive/tar"
	"bytes"
	_ "crypto/sha512" // for the digests of bases
	"encoding/json"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/test/harness"
)

// digestBase is an image of one layer whose parts are named by an algorithm each.
type digestBase struct {
	blobs, diffID digest.Algorithm
}

// put names the image, as others store it who know the algorithm.
func (b digestBase) put(t *testing.T, p *place, name string) {
	t.Helper()
	ctx, release, err := lease.New(p.ctx, p.engine.Client.LeasesService())
	must(t, err)
	defer func() { must(t, release(ctx)) }()
	store := func(mediaType string, data []byte, refs map[string]string) ocispec.Descriptor {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: b.blobs.FromBytes(data), Size: int64(len(data))}
		must(t, cstore.WriteBlob(ctx, p.engine.Client.ContentStore(), desc.Digest.String(), bytes.NewReader(data), desc, cstore.WithLabels(refs)))
		return desc
	}
	document := func(mediaType string, v any, refs map[string]string) ocispec.Descriptor {
		data, err := json.Marshal(v)
		must(t, err)
		return store(mediaType, data, refs)
	}
	plain := helloTar(t)
	layer := store(ocispec.MediaTypeImageLayer, plain, nil)
	config := document(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{b.diffID.FromBytes(plain)}},
	}, nil)
	target := document(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer},
	}, map[string]string{"containerd.io/gc.ref.content.config": config.Digest.String(), "containerd.io/gc.ref.content.l.0": layer.Digest.String()})
	_, err = p.engine.Client.ImageService().Create(ctx, images.Image{Name: "docker.io/library/" + name, Target: target})
	must(t, err)
}

// helloTar is a layer of one file.
func helloTar(t *testing.T) []byte {
	t.Helper()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/hello", Mode: 0o644, Size: 6}))
	_, err := io.WriteString(w, "hello\n")
	must(t, err, w.Close())
	return plain.Bytes()
}

// digestPlaces are engines whose content store knows more than sha256, as that of daemons of 1.x does not.
func digestPlaces(t *testing.T, do func(t *testing.T, p *place)) {
	t.Helper()
	harness.RequireRoot(t)
	t.Run("embedded", func(t *testing.T) { do(t, embedded(t)) })
	t.Run(string(harness.Containerd2), func(t *testing.T) { do(t, newPlace(t, harness.Start(t, harness.Containerd2), "overlayfs")) })
}

// TestDigestsOfBases: a base whose blobs are named by sha512 is built upon, by each way of reading it, and what comes of
// it is whole, can be saved and loaded. One whose layers' content is named so, which containerd cannot unpack, is refused
// by name, before anything is written.
func TestDigestsOfBases(t *testing.T) {
	digestPlaces(t, func(t *testing.T, p *place) {
		digestBase{digest.SHA512, digest.SHA256}.put(t, p, "blobs:1")
		same := agreement{}
		for _, reader := range []veneer.ReaderKind{veneer.ReadAuto, veneer.ReadIndex, veneer.ReadView} {
			res := p.build(t, veneer.BuildRequest{
				Base:          "blobs:1",
				TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: "digests_test.go", Dest: "/etc/"}}},
				ReadOptions:   veneer.ReadOptions{Reader: reader, NoCache: true},
				ImageOptions:  veneer.ImageOptions{Tags: []string{"on-blobs:1"}},
			})
			same.check(t, "digest", res.Digest.String())
			files := p.describe(t, res.ChainID, "etc", false)
			if names := slices.Sorted(maps.Keys(files)); !slices.Equal(names, []string{"digests_test.go", "hello"}) {
				t.Errorf("%s: /etc has %q", reader, names)
			}
		}
		p.remove(t, "blobs:1")
		if res := p.verify(t, veneer.VerifyRequest{Image: "on-blobs:1"}); res.Errors+res.Warnings > 0 || res.Blobs != 4 {
			t.Errorf("verify: %+v", res)
		}
		before, saved := p.stored(t), p.save(t, "on-blobs:1")
		p.remove(t, "on-blobs:1")
		_, err := p.loadBytes(saved)
		must(t, err)
		if after := p.stored(t); !maps.Equal(before, after) {
			maps.DeleteFunc(before, func(k string, _ bool) bool { return after[k] })
			if slices.ContainsFunc(slices.Collect(maps.Keys(before)), func(k string) bool { return strings.HasPrefix(k, "blob ") }) {
				t.Errorf("after save and load there lack %v", before)
			}
		}

		digestBase{digest.SHA256, digest.SHA512}.put(t, p, "content:1")
		before = p.stored(t)
		for _, req := range []veneer.BuildRequest{{}, {ReadOptions: veneer.ReadOptions{Reader: veneer.ReadIndex}}, {ImageOptions: veneer.ImageOptions{NoUnpack: true}}} {
			req.Base, req.Tags, req.NoCache = "content:1", []string{"refused:1"}, true
			req.Targets = []veneer.TargetSpec{{Op: differ.Copy, Source: "digests_test.go", Dest: "/etc/"}}
			_, err := veneer.Build(p.ctx, p.engine, req)
			if err == nil || !strings.Contains(err.Error(), "content:1") || !strings.Contains(err.Error(), "sha512") {
				t.Errorf("%+v: %v", req, err)
			}
			if after := p.stored(t); !maps.Equal(before, after) {
				t.Errorf("it wrote: %v, before %v", after, before)
			}
		}
	})
}

// TestDigestsOfOlderDaemons: what a daemon of 1.x cannot store is refused by its name, and nothing of it stays.
func TestDigestsOfOlderDaemons(t *testing.T) {
	harness.RequireRoot(t)
	from := embedded(t)
	digestBase{digest.SHA512, digest.SHA256}.put(t, from, "blobs:1")
	saved := from.save(t, "blobs:1")
	for _, kind := range harness.Daemons(t) {
		if kind == harness.Containerd2 {
			continue
		}
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, harness.Start(t, kind), "overlayfs")
			if _, err := p.loadBytes(saved); err == nil || !strings.Contains(err.Error(), "sha512:") {
				t.Errorf("load: %v", err)
			} else {
				t.Log(err)
			}
			p.collect(t)
			if left := p.stored(t); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestRepeatedLayers: a base has a layer twice, and the layer that comes of a build is there already: each keeps its place.
func TestRepeatedLayers(t *testing.T) {
	digestPlaces(t, func(t *testing.T, p *place) {
		hello := tarFile(t, &tar.Header{Typeflag: tar.TypeReg, Name: "etc/hello", Mode: 0o644})
		gone := tarFile(t, &tar.Header{Typeflag: tar.TypeReg, Name: "etc/.wh.hello"})
		archive := filepath.Join(t.TempDir(), "twice.tar")
		must(t, harness.WriteImage(archive, harness.Image{Layers: []string{hello, gone, hello, hello}}))
		p.load(t, archive, "twice:1")
		deletion := veneer.TargetSpec{Op: differ.Delete, Dest: "/etc/hello"}
		source := filepath.Join(t.TempDir(), "again")
		write(t, source, "again\n")
		again := veneer.TargetSpec{Op: differ.Copy, Source: source, Dest: "/etc/again"}
		var layers []digest.Digest
		base := "twice:1"
		for i, target := range []veneer.TargetSpec{again, {Op: differ.Delete, Dest: "/etc/again"}, again, deletion} {
			res := p.build(t, veneer.BuildRequest{Base: base, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{target}}, ImageOptions: veneer.ImageOptions{Tags: []string{"on-twice:1"}}})
			layers, base = append(layers, res.Layer.Digest), "on-twice:1"
			files := p.describe(t, res.ChainID, "etc", false)
			if _, ok := files["again"]; ok != (i%2 == 0 || i == 3) {
				t.Errorf("step %d shows %v", i, files)
			}
			if _, ok := files["hello"]; ok != (i < 3) {
				t.Errorf("step %d shows %v", i, files)
			}
		}
		if layers[0] != layers[2] {
			t.Errorf("the layers are %q", layers)
		}
		p.remove(t, "twice:1")
		p.wantComplete(t, base)
		img, err := content.Resolve(p.ctx, p.engine.Client, base, "")
		must(t, err)
		if len(img.Layers) != 8 || img.DiffIDs[0] != img.DiffIDs[3] || img.DiffIDs[4] != img.DiffIDs[6] {
			t.Errorf("diff IDs %q", img.DiffIDs)
		}
		if res := p.verify(t, veneer.VerifyRequest{Image: base}); res.Errors+res.Warnings > 0 {
			t.Errorf("verify: %q", findingTexts(res))
		}
		if err := harness.Validate(t, p.layout(t, img.Manifest), img.Manifest.Digest.String()); err != nil {
			t.Error(err)
		}
	})
}
