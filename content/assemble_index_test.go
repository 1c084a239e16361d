package content_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// indexOf makes an index of raw entries, with members that no specification has.
func indexOf(mediaType string, entries ...string) storetest.Blob {
	return storetest.JSON(mediaType, `{"schemaVersion":2,"mediaType":"`+mediaType+`","x-own":{"a":[1,2]},"manifests":[`+strings.Join(entries, ",")+`],
		"annotations":{"keep":"this","org.opencontainers.image.base.name":"older"},"subject":{"digest":"sha256:`+strings.Repeat("0", 64)+`","size":1,"mediaType":"x"},"artifactType":"x/y"}`)
}

// entryOf is an entry with a platform, and more members.
func entryOf(d ocispec.Descriptor, arch, more string) string {
	data, _ := json.Marshal(map[string]any{"os": "linux", "architecture": arch, "x-platform": true})
	return `{"mediaType":"` + d.MediaType + `","digest":"` + d.Digest.String() + `","size":` + string(must(json.Marshal(d.Size))) + `,"platform":` + string(data) + more + `}`
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

// TestAssembleIndex: what is still true of the base's index survives with its bytes, and nothing else does.
func TestAssembleIndex(t *testing.T) {
	ctx, s := storetest.Open(t)
	amd := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"a"}, Arch: "arm64"})
	ppc := storetest.NewImage(storetest.Spec{Files: []string{"a"}, Arch: "ppc64le"})
	nested := indexOf(ocispec.MediaTypeImageIndex, entryOf(ppc.Manifest.Descriptor, "ppc64le", ""))
	attestation := `{"mediaType":"` + ocispec.MediaTypeImageManifest + `","digest":"` + digest.FromString("att").String() + `","size":3,"platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"` + amd.Manifest.Digest.String() + `"}}`
	base := indexOf(ocispec.MediaTypeImageIndex,
		entryOf(amd.Manifest.Descriptor, "amd64", `,"x-entry":"<kept>","data":"e30=","urls":["http://x"],"annotations":{"rev":"1","org.opencontainers.image.ref.name":"old"}`),
		attestation,
		entryOf(arm.Manifest.Descriptor, "arm64", ""),
		`{"mediaType":"`+nested.MediaType+`","digest":"`+nested.Digest.String()+`","size":`+string(must(json.Marshal(nested.Size)))+`}`,
	)
	for _, img := range []storetest.Image{amd, arm, ppc} {
		s.Put(ctx, t, img.Blobs()...)
	}
	s.Put(ctx, t, base, nested)

	descs, err := content.SelectManifests(ctx, s.ContentStore(), base.Descriptor, []string{"all"})
	if err != nil || len(descs) != 3 {
		t.Fatalf("all platforms: %v, %v", descs, err)
	}
	descs, err = content.SelectManifests(ctx, s.ContentStore(), base.Descriptor, []string{"linux/ppc64le", "linux/arm64", "linux/amd64", "linux/arm64/v8"})
	if err != nil || len(descs) != 3 || descs[0].Digest != amd.Manifest.Digest || descs[2].Digest != ppc.Manifest.Digest {
		t.Fatalf("chosen platforms: %v, %v", descs, err)
	}
	if _, err := content.SelectManifests(ctx, s.ContentStore(), base.Descriptor, []string{"linux/amd64", "linux/s390x"}); !errors.Is(err, errdefs.ErrNotFound) || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("a platform that is not listed: %v", err)
	}

	fresh := storetest.NewImage(storetest.Spec{Files: []string{"b"}})
	a := content.IndexAssembly{Base: &base.Descriptor, BaseName: "example.org/base:1", Entries: []content.IndexEntry{
		{Base: amd.Manifest.On("linux", "amd64", ""), Manifest: fresh.Manifest.Descriptor, Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		{Base: ppc.Manifest.On("linux", "ppc64le", ""), Manifest: ppc.Manifest.Descriptor, Platform: ocispec.Platform{OS: "linux", Architecture: "ppc64le"}},
	}}
	desc, data, err := content.AssembleIndex(ctx, s.ContentStore(), a)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","x-own":{"a":[1,2]},"manifests":[` +
		strings.NewReplacer(amd.Manifest.Digest.String(), fresh.Manifest.Digest.String(), `"size":`+string(must(json.Marshal(amd.Manifest.Size))), `"size":`+string(must(json.Marshal(fresh.Manifest.Size)))).
			Replace(entryOf(amd.Manifest.Descriptor, "amd64", `,"x-entry":"<kept>","annotations":{"rev":"1"}`)) + `,` +
		entryOf(ppc.Manifest.Descriptor, "ppc64le", "") +
		`],"annotations":{"keep":"this","org.opencontainers.image.base.digest":"` + base.Digest.String() + `","org.opencontainers.image.base.name":"example.org/base:1"}}`
	if string(data) != want {
		t.Errorf("index\n%s\nwant\n%s", data, want)
	}
	again, _, err := content.AssembleIndex(ctx, s.ContentStore(), a)
	if err != nil || again.Digest != desc.Digest || desc.Digest != digest.FromBytes(data) || desc.Size != int64(len(data)) {
		t.Errorf("%v, again %v, %v", desc, again, err)
	}

	s.Put(ctx, t, fresh.Blobs()...)
	if err := content.StoreIndex(ctx, s.ContentStore(), desc, data); err != nil {
		t.Fatal(err)
	}
	labels := s.Blobs(ctx, t)[desc.Digest]
	if labels["containerd.io/gc.ref.content.m.0"] != fresh.Manifest.Digest.String() || labels["containerd.io/gc.ref.content.m.1"] != ppc.Manifest.Digest.String() {
		t.Errorf("labels %v", labels)
	}
}

// TestAssembleIndexDocker: Docker's lists stay Docker's, and get no annotations.
func TestAssembleIndexDocker(t *testing.T) {
	ctx, s := storetest.Open(t)
	amd := storetest.NewImage(storetest.Spec{Docker: true, Files: []string{"a"}})
	list := storetest.JSON(images.MediaTypeDockerSchema2ManifestList,
		`{"schemaVersion":2,"mediaType":"`+images.MediaTypeDockerSchema2ManifestList+`","manifests":[`+entryOf(amd.Manifest.Descriptor, "amd64", "")+`]}`)
	s.Put(ctx, t, append(amd.Blobs(), list)...)
	fresh := storetest.NewImage(storetest.Spec{Docker: true, Files: []string{"b"}})
	desc, data, err := content.AssembleIndex(ctx, s.ContentStore(), content.IndexAssembly{Base: &list.Descriptor, BaseName: "base", Entries: []content.IndexEntry{
		{Base: amd.Manifest.On("linux", "amd64", ""), Manifest: fresh.Manifest.Descriptor},
	}})
	if err != nil || desc.MediaType != images.MediaTypeDockerSchema2ManifestList || strings.Contains(string(data), "annotations") {
		t.Errorf("%v, %s, %v", desc, data, err)
	}
}

// TestAssembleIndexScratch: without a base there is a plain OCI index, with platforms.
func TestAssembleIndexScratch(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	desc, data, err := content.AssembleIndex(ctx, s.ContentStore(), content.IndexAssembly{Entries: []content.IndexEntry{
		{Manifest: img.Manifest.Descriptor, Platform: ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	idx, err := content.ParseIndex(data, desc)
	if err != nil || len(idx.Manifests) != 1 || idx.Manifests[0].Platform.Variant != "v7" || idx.Annotations != nil {
		t.Errorf("%s, %v", data, err)
	}
}

// TestAssembleIndexAlone: without a base an index is of the family that is asked for, and only OCI's has annotations.
func TestAssembleIndexAlone(t *testing.T) {
	ctx, s := storetest.Open(t)
	for docker, want := range map[bool]string{false: ocispec.MediaTypeImageIndex, true: images.MediaTypeDockerSchema2ManifestList} {
		desc, _, err := content.AssembleIndex(ctx, s.ContentStore(), content.IndexAssembly{Docker: docker})
		if err != nil || desc.MediaType != want {
			t.Errorf("docker %t: %s, %v, want %s", docker, desc.MediaType, err, want)
		}
		_, data, err := content.AssembleIndex(ctx, s.ContentStore(), content.IndexAssembly{Docker: docker, Annotations: map[string]string{"a": "b"}})
		if docker != (err != nil) || !docker && !strings.Contains(string(data), `"annotations":{"a":"b"}`) {
			t.Errorf("docker %t, annotated: %s, %v", docker, data, err)
		}
	}
}

// TestDocuments: the walk goes on after what is missing or damaged, and says so; labels count by what they name.
func TestDocuments(t *testing.T) {
	ctx, s := storetest.Open(t)
	good := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	away := storetest.NewImage(storetest.Spec{Files: []string{"c"}, Arch: "arm64"})
	idx := storetest.NewIndex(good.Manifest.On("linux", "amd64", ""), away.Manifest.On("linux", "arm64", ""))
	s.Put(ctx, t, append(good.Blobs(), idx)...)
	docs, err := content.Documents(ctx, s.ContentStore(), idx.Descriptor)
	if err != nil || len(docs) != 3 {
		t.Fatalf("%v, %v", docs, err)
	}
	if !docs[0].IsIndex() || docs[0].Err != nil || docs[1].Err != nil || !errors.Is(docs[2].Err, errdefs.ErrNotFound) {
		t.Errorf("%+v", docs)
	}
	var names []string
	for _, c := range slices.Concat(docs[0].Children, docs[1].Children) {
		names = append(names, strings.TrimPrefix(c.Label, "containerd.io/gc.ref.content."))
	}
	if want := []string{"m.0", "m.1", "config", "l.0", "l.1"}; !slices.Equal(names, want) {
		t.Errorf("labels %q", names)
	}
	missing, err := content.Unlabelled(ctx, s.ContentStore(), &docs[1])
	if err != nil || len(missing) != 3 {
		t.Errorf("without labels: %v, %v", missing, err)
	}
	// Any label of the kind will do, whatever it is called beyond that.
	err = content.SetLabels(ctx, s.ContentStore(), good.Manifest.Digest, map[string]string{
		"containerd.io/gc.ref.content": good.Config.Digest.String(), "containerd.io/gc.ref.content.x": good.Layers[0].Digest.String(),
		"containerd.io/gc.ref.contention": good.Layers[1].Digest.String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	missing, err = content.Unlabelled(ctx, s.ContentStore(), &docs[1])
	if err != nil || len(missing) != 1 || missing[0].Desc.Digest != good.Layers[1].Digest {
		t.Errorf("with labels: %v, %v", missing, err)
	}
	missing, err = content.Unlabelled(ctx, s.ContentStore(), &docs[0])
	if err != nil || len(missing) != 1 {
		t.Errorf("of the index: %v, %v", missing, err)
	}
	// Indexes without end.
	deep := idx
	for range 8 {
		deep = storetest.NewIndex(deep.Descriptor)
		s.Put(ctx, t, deep)
	}
	if _, err := content.Documents(ctx, s.ContentStore(), deep.Descriptor); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("nested: %v", err)
	}
}
