package archive_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/internal/fault"
)

// since is what NewBase reads of images that are stored.
func since(ctx context.Context, t *testing.T, s storetest.Store, name string, target ocispec.Descriptor) []*archive.Base {
	t.Helper()
	b, err := archive.NewBase(ctx, s.ContentStore(), name, target)
	if err != nil {
		t.Fatal(err)
	}
	return []*archive.Base{b}
}

const baseName = "docker.io/library/base:1"

// deltaOf returns an archive of next that lacks what base has. The layers that
// are left out are not in the store that it is made from.
func deltaOf(t *testing.T, base, next storetest.Image) []byte {
	t.Helper()
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, base.Manifest, base.Config)
	for _, b := range next.Blobs() {
		if !slices.ContainsFunc(base.Layers, func(l storetest.Blob) bool { return l.Digest == b.Digest }) {
			s.Put(ctx, t, b)
		}
	}
	return export(ctx, t, s, since(ctx, t, s, baseName, base.Manifest.Descriptor), item(next.Manifest.Descriptor, "app:2"))
}

func TestDelta(t *testing.T) {
	base := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	next := storetest.NewImage(storetest.Spec{Files: []string{"a", "b", "c"}})
	other := storetest.NewImage(storetest.Spec{Files: []string{"x"}})
	data := deltaOf(t, base, next)
	checkSums(t, data)
	for _, f := range untar(t, data) {
		if f.name == "manifest.json" || strings.Contains(f.name, base.Layers[0].Digest.Encoded()) {
			t.Errorf("%s is in a delta", f.name)
		}
	}

	ctx, s := storetest.Open(t)
	load := func(data []byte) error {
		_, err := archive.Import(ctx, s.Client, bytes.NewReader(data), archive.Options{})
		return err
	}
	ref := baseName + "@" + base.Manifest.Digest.String()
	err := load(data)
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), ref) || !needs(err, ref) || !strings.Contains(err.Error(), "2 layers are not here") {
		t.Errorf("without the base: %v", err)
	}
	checkNothingLeft(ctx, t, s)
	if err := load(layout(other.Blobs(), carrying(other.Manifest.Descriptor, baseName))); err != nil {
		t.Fatal(err)
	}
	s.Name(ctx, t, "docker.io/library/app:2", other.Manifest.Descriptor)
	blobs := len(s.Blobs(ctx, t))
	if err := load(data); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "(the one here is "+other.Manifest.Digest.String()+")") {
		t.Errorf("with another base: %v", err)
	}
	if img, err := content.Lookup(ctx, s.Client, "app:2"); err != nil || img.Target.Digest != other.Manifest.Digest || len(s.Blobs(ctx, t)) != blobs {
		t.Errorf("after the failure: %v, %v, %d blobs", img.Target.Digest, err, len(s.Blobs(ctx, t)))
	}
	if err := load(layout(base.Blobs(), carrying(base.Manifest.Descriptor, baseName))); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it can be repeated
		if err := load(data); err != nil {
			t.Fatal(err)
		}
	}
	checkNothingOpen(ctx, t, s)
	if _, err := removeNames(ctx, s, []string{baseName}, true); err != nil {
		t.Fatal(err)
	}
	s.Collect(ctx, t)
	img, err := content.Resolve(ctx, s.Client, "app:2", "")
	if err != nil || len(img.Missing) > 0 || img.Manifest.Digest != next.Manifest.Digest {
		t.Fatalf("after the base was removed: %+v, %v", img, err)
	}
	export(ctx, t, s, nil, item(img.Manifest, "app:2")) // it is whole, and can be saved so
}

// What a delta needs is looked for before its layers are read.
func TestDeltaRefusedEarly(t *testing.T) {
	base := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	big := make([]byte, 8<<20)
	_, _ = rand.Read(big)
	layer := storetest.NewBlob(ocispec.MediaTypeImageLayer, storetest.Tar(map[string]string{"big": string(big)}))
	next := storetest.Image{Layers: []storetest.Blob{base.Layers[0], layer}, DiffIDs: []digest.Digest{base.DiffIDs[0], layer.Digest}}
	next.Config = storetest.JSON(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: next.DiffIDs},
	})
	next.Manifest = storetest.JSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: next.Config.Descriptor,
		Layers: []ocispec.Descriptor{base.Layers[0].Descriptor, layer.Descriptor},
	})
	data := deltaOf(t, base, next)
	ctx, s := storetest.Open(t)
	r := bytes.NewReader(data)
	if _, err := archive.Import(ctx, s.Client, r, archive.Options{}); !errdefs.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	if read := len(data) - r.Len(); read > 2<<20 {
		t.Errorf("%d of %d bytes were read before it was refused", read, len(data))
	}
}

// chains stands for a snapshotter.
type chains struct {
	there    map[digest.Digest]bool
	kept     []digest.Digest
	unpacked []string
	err      error
}

func (c *chains) Has(_ context.Context, chain digest.Digest) (bool, error) {
	return c.there[chain], nil
}

func (c *chains) Keep(_ context.Context, _ *content.Image, chain digest.Digest) error {
	c.kept = append(c.kept, chain)
	return nil
}

func (c *chains) Unpack(_ context.Context, name string, _ *content.Image) error {
	c.unpacked = append(c.unpacked, name)
	return c.err
}

// The snapshot of the needed layers stands for blobs that were discarded.
func TestDeltaOnSnapshot(t *testing.T) {
	base := storetest.NewImage(storetest.Spec{Files: []string{"a", "b", "c"}})
	next := storetest.NewImage(storetest.Spec{Files: []string{"a", "b", "c", "d"}})
	data := deltaOf(t, base, next)
	chain := func(n int) digest.Digest { return identity.ChainID(next.DiffIDs[:n]) }
	for what, c := range map[string]struct {
		there digest.Digest
		blobs []storetest.Blob
		kept  digest.Digest // "" and no error: nothing had to be
		fails bool
	}{
		"none":            {there: "", fails: true},
		"all":             {there: chain(3), kept: chain(3)},
		"too few":         {there: chain(2), fails: true},
		"the rest stored": {there: chain(2), blobs: base.Layers[2:], kept: chain(2)},
		"all stored":      {there: chain(2), blobs: base.Layers},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, s := storetest.Open(t)
			s.Put(ctx, t, c.blobs...)
			sn := &chains{there: map[digest.Digest]bool{c.there: true}}
			got, err := archive.Import(ctx, s.Client, bytes.NewReader(data), archive.Options{Snapshots: sn})
			if c.fails {
				if !errdefs.IsNotFound(err) {
					t.Errorf("got %v, %v", got, err)
				}
				checkNothingLeft(ctx, t, s)
				return
			}
			if err != nil || len(sn.unpacked) != 1 {
				t.Fatalf("%v, unpacked %v", err, sn.unpacked)
			}
			if (c.kept == "") != (len(sn.kept) == 0) || c.kept != "" && sn.kept[0] != c.kept {
				t.Errorf("kept %v, want %v", sn.kept, c.kept)
			}
		})
	}
}

// Of an index, the platforms that the reader has a base for are loaded.
func TestDeltaPlatforms(t *testing.T) {
	image := func(arch string, files ...string) storetest.Image {
		return storetest.NewImage(storetest.Spec{Arch: arch, Files: files})
	}
	amd1, arm1 := image("amd64", "amd"), image("arm64", "arm")
	amd2, arm2 := image("amd64", "amd", "new"), image("arm64", "arm", "new")
	index := func(amd, arm storetest.Image) storetest.Blob {
		return storetest.NewIndex(amd.Manifest.On("linux", "amd64", ""), arm.Manifest.On("linux", "arm64", ""))
	}
	one, two := index(amd1, arm1), index(amd2, arm2)
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, slices.Concat(amd1.Blobs(), arm1.Blobs(), []storetest.Blob{one, two, amd2.Manifest, amd2.Config, arm2.Manifest, arm2.Config, amd2.Layers[1]})...)
	data := export(ctx, t, s, since(ctx, t, s, baseName, one.Descriptor), item(two.Descriptor, "app:2"))

	ctx, s = storetest.Open(t)
	if _, err := archive.Import(ctx, s.Client, bytes.NewReader(data), archive.Options{}); !errdefs.IsNotFound(err) {
		t.Errorf("no platform's base: %v", err)
	}
	checkNothingLeft(ctx, t, s)
	s.Put(ctx, t, arm1.Layers...)
	if _, err := archive.Import(ctx, s.Client, bytes.NewReader(data), archive.Options{Platform: "linux/amd64"}); !errdefs.IsNotFound(err) {
		t.Errorf("another platform's base: %v", err)
	}
	s.Put(ctx, t, arm1.Layers...)
	if _, err := archive.Import(ctx, s.Client, bytes.NewReader(data), archive.Options{Platform: "linux/arm64"}); err != nil {
		t.Fatal(err)
	}
	if img, err := content.Resolve(ctx, s.Client, "app:2", "linux/arm64"); err != nil || len(img.Missing) > 0 {
		t.Error(err)
	}
}

// A base is read from what is stored of it.
func TestNewBase(t *testing.T) {
	amd := storetest.NewImage(storetest.Spec{Files: []string{"amd"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"arm"}, Arch: "arm64"})
	idx := storetest.NewIndex(amd.Manifest.On("linux", "amd64", ""), arm.Manifest.On("linux", "arm64", ""))
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, idx)
	if _, err := archive.NewBase(ctx, s.ContentStore(), baseName, idx.Descriptor); !errdefs.IsNotFound(err) {
		t.Errorf("without documents: %v", err)
	}
	if _, err := archive.NewBase(ctx, s.ContentStore(), baseName, amd.Manifest.Descriptor); !errdefs.IsNotFound(err) {
		t.Errorf("without a manifest: %v", err)
	}
	s.Put(ctx, t, amd.Manifest, amd.Config)
	if _, err := archive.NewBase(ctx, s.ContentStore(), baseName, idx.Descriptor); err != nil {
		t.Errorf("one platform: %v", err)
	}
}

// No layer in common: a complete archive, which docker reads, too.
func TestSinceAnother(t *testing.T) {
	a := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	b := storetest.NewImage(storetest.Spec{Files: []string{"b"}})
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, append(a.Blobs(), b.Blobs()...)...)
	data := export(ctx, t, s, since(ctx, t, s, baseName, a.Manifest.Descriptor), item(b.Manifest.Descriptor, "b"))
	if want := export(ctx, t, s, nil, item(b.Manifest.Descriptor, "b")); !bytes.Equal(data, want) {
		t.Error("it is not the complete archive")
	}
}

// A name is set after the snapshot is made.
func TestImportUnpackFails(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	ctx, s := storetest.Open(t)
	sn := &chains{err: io.ErrNoProgress}
	if _, err := archive.Import(ctx, s.Client, bytes.NewReader(layout(img.Blobs(), carrying(img.Manifest.Descriptor, "app:1"))), archive.Options{Snapshots: sn}); err == nil {
		t.Error("no error")
	}
	checkNothingLeft(ctx, t, s)
}

// The annotation is read as strictly as any document.
func TestDeltaAnnotation(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	d := img.Manifest.Digest.String()
	for text, says := range map[string]string{
		`{"version":1}`:                          "",
		`{"version":1,"later":true}`:             "",
		`{"version":2}`:                          "version 2",
		`{}`:                                     "version 0",
		`{`:                                      "JSON",
		`[]`:                                     "annotation",
		`{"version":1,"version":1}`:              "twice",
		`{"version":1,"needs":[{}]}`:             "digest",
		`{"version":1,"needs":[{"target":"x"}]}`: "digest",
		`{"version":1,"needs":[{"target":"` + d + `","manifest":"` + d + `","bases":[{"name":"x; rm -rf /","digest":"` + d + `"}]}]}`: "name",
		`{"version":1,"needs":[{"target":"` + d + `","manifest":"` + d + `","layers":[{"digest":"../..","chain":"` + d + `"}]}]}`:     "digest",
	} {
		idx, err := json.Marshal(ocispec.Index{
			MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{carrying(img.Manifest.Descriptor, "app:1")},
			Annotations: map[string]string{"build.veneer.delta": text},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, s := storetest.Open(t)
		_, err = archive.Import(ctx, s.Client, bytes.NewReader(files(img.Blobs(), "oci-layout", ociLayout, "index.json", string(idx))), archive.Options{})
		if says == "" {
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
		checkNothingLeft(ctx, t, s)
	}
}

// needs reports whether an error says that an image is needed first.
func needs(err error, ref string) bool {
	return slices.ContainsFunc(fault.All(err), func(e *fault.Error) bool { return errors.Is(e.Kind, archive.ErrNeedsBase) && e.Ref == ref })
}
