package veneer_test

import (
	"encoding/json"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// recordIndex stores an index of stored images, listed for the given platforms, under a name.
func recordIndex(t *testing.T, e *engine.Engine, name string, list []ocispec.Descriptor) {
	t.Helper()
	data, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: list})
	if err != nil {
		t.Fatal(err)
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}
	ctx := e.Context(t.Context())
	if err := content.StoreIndex(ctx, e.Client.ContentStore(), desc, data); err != nil {
		t.Fatal(err)
	}
	full, err := content.Normalize(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := content.Record(ctx, e.Client, full, desc); err != nil {
		t.Fatal(err)
	}
}

// TestPlatformsUnlikeTheirConfigs: an index says for which platforms its images are, whatever their configs say, and may say
// one twice, or one image for two: a build makes an image for each entry, on that entry's image, listed as that was.
func TestPlatformsUnlikeTheirConfigs(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	bases := map[string]ocispec.Descriptor{}
	for _, name := range []string{"a", "b", "c"} {
		dir := t.TempDir()
		write(t, dir, "which", name)
		res := mustBuild(t, e, veneer.BuildRequest{Base: "scratch", TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Source: dir, Dest: "/"}}}, ReadOptions: veneer.ReadOptions{Platform: "linux/amd64"}, ImageOptions: veneer.ImageOptions{Tags: []string{"base:" + name}, NoUnpack: true}})
		bases[name] = res.Target
	}
	on := func(name, platform string, features ...string) ocispec.Descriptor {
		d := bases[name]
		p := ocispec.Platform{OS: "linux", Architecture: platform, OSFeatures: features}
		if platform == "arm/v7" || platform == "arm64/v8" {
			p.Architecture, p.Variant = platform[:len(platform)-3], platform[len(platform)-2:]
		}
		d.Platform = &p
		return d
	}
	app := t.TempDir()
	write(t, app, "app", "app")
	for what, list := range map[string][]ocispec.Descriptor{
		"configs of one platform": {on("a", "amd64"), on("b", "arm64"), on("c", "arm/v7")},
		"a platform twice":        {on("a", "amd64"), on("b", "amd64")},
		"a feature tells":         {on("a", "amd64", "x.remote.v1"), on("b", "amd64")},
		"a variant tells":         {on("a", "arm64"), on("b", "arm64/v8")},
		"an image twice":          {on("a", "amd64"), on("a", "arm64")},
	} {
		recordIndex(t, e, "odd:1", list)
		res := mustBuild(t, e, veneer.BuildRequest{Base: "odd:1", Platforms: []string{"all"}, TargetOptions: veneer.TargetOptions{Targets: []veneer.TargetSpec{{Op: differ.Copy, Source: app, Dest: "/"}}}, ImageOptions: veneer.ImageOptions{Tags: []string{"out:1"}, NoUnpack: true}})
		ctx := e.Context(t.Context())
		idx, err := content.ReadIndex(ctx, e.Client.ContentStore(), res.Target)
		if err != nil || len(idx.Manifests) != len(list) {
			t.Errorf("%s: %+v, %v", what, idx, err)
			continue
		}
		for i, m := range idx.Manifests {
			if got, want := content.FormatPlatform(*m.Platform), content.FormatPlatform(*list[i].Platform); got != want {
				t.Errorf("%s: entry %d is for %s, want %s", what, i, got, want)
			}
			img, err := content.ResolveTarget(ctx, e.Client.ContentStore(), m, "")
			if err != nil {
				t.Fatal(err)
			}
			base, err := content.ResolveTarget(ctx, e.Client.ContentStore(), list[i], "")
			if err != nil || len(img.DiffIDs) != 2 || img.DiffIDs[0] != base.DiffIDs[0] {
				t.Errorf("%s: entry %d is built on %v, want %v, %v", what, i, img.DiffIDs, base.DiffIDs, err)
			}
		}
		if res := mustBuild(t, e, veneer.BuildRequest{Base: "odd:1", Platforms: []string{"all"}, ImageOptions: veneer.ImageOptions{Tags: []string{"same:1"}, NoUnpack: true}}); !res.Unchanged {
			t.Errorf("%s: nothing changed, but it is another index: %+v", what, res)
		}
	}
}
