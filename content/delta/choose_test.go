package delta_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/internal/recompress"
)

func chosenBlob(name string, size int64) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(name), Size: size}
}

func source(name string) delta.Source {
	return delta.Source{Manifest: digest.FromString(name), Config: digest.FromString("config of " + name), Chain: digest.FromString("chain of " + name)}
}

// chosenImage has a layer of 100 bytes that sources have, and two that are new: of 1000
// bytes, and of 10.
func chosenImage() *content.Image {
	return &content.Image{
		Manifest:   ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("new"), Size: 9},
		ConfigDesc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("new config"), Size: 9},
		Layers:     []ocispec.Descriptor{chosenBlob("base", 100), chosenBlob("large", 1000), chosenBlob("small", 10)},
	}
}

// offer is a delta in which the large layer has so many bytes.
func offer(name string, bytes int64, sources ...delta.Source) delta.Offer {
	img := chosenImage()
	return delta.Offer{Manifest: chosenBlob(name, 5), Delta: &delta.Delta{
		Image: img, Sources: sources, Files: chosenBlob(name+" files", 3),
		Layers: []delta.Layer{
			{Kind: delta.Reused, Target: img.Layers[0]},
			{Kind: delta.Diff, Target: img.Layers[1], Blob: chosenBlob(name+" large", bytes), Generation: recompress.None, Size: -1},
			{Kind: delta.Whole, Target: img.Layers[2], Blob: img.Layers[2]},
		},
	}}
}

func TestChoose(t *testing.T) {
	old, older, other := source("old"), source("older"), source("other")
	a, b, both := offer("a", 50, old), offer("b", 20, older), offer("both", 5, old, older)
	unknown, recompressed := offer("unknown", 1, old), offer("recompressed", 1, old)
	unknown.Layers[1].Generation = ""
	recompressed.Layers[2].Blob = chosenBlob("small in another way", 1)
	elsewhere := offer("elsewhere", 1, old)
	elsewhere.Image.Manifest.Digest = digest.FromString("another image")
	for name, row := range map[string]struct {
		offers []delta.Offer
		here   []delta.Source
		stored []string
		want   string
		bytes  int64
	}{
		"nothing is offered":       {nil, []delta.Source{old}, nil, "", 1110},
		"no source is here":        {[]delta.Offer{a, b, both}, []delta.Source{other}, nil, "", 1110},
		"the one whose source is":  {[]delta.Offer{a, b, both}, []delta.Source{old}, []string{"base"}, "a", 63},
		"the cheaper one":          {[]delta.Offer{a, b}, []delta.Source{old, older}, []string{"base"}, "b", 33},
		"of several sources":       {[]delta.Offer{a, both, b}, []delta.Source{old, older}, []string{"base"}, "both", 18},
		"no base, as blobs":        {[]delta.Offer{a, both, b}, []delta.Source{old, older}, nil, "both", 118},
		"the first of equal ones":  {[]delta.Offer{offer("x", 7, old), offer("y", 7, old)}, []delta.Source{old}, nil, "x", 120},
		"of another image":         {[]delta.Offer{elsewhere}, []delta.Source{old}, nil, "", 1110},
		"of other blobs":           {[]delta.Offer{unknown, a, recompressed}, []delta.Source{old}, nil, "a", 163},
		"dearer than the layers":   {[]delta.Offer{offer("x", 5000, old)}, []delta.Source{old}, []string{"base"}, "", 1010},
		"as dear as the layers":    {[]delta.Offer{offer("x", 997, old)}, []delta.Source{old}, []string{"base"}, "", 1010},
		"the large layer is here":  {[]delta.Offer{a}, []delta.Source{old}, []string{"base", "large"}, "", 10},
		"all layers are here":      {[]delta.Offer{a}, []delta.Source{old}, []string{"base", "large", "small"}, "", 0},
		"a part of it was fetched": {[]delta.Offer{a, b}, []delta.Source{old, older}, []string{"a large", "a files"}, "a", 110},
	} {
		here := func(s delta.Source) bool { return slices.Contains(row.here, s) }
		stored := func(d digest.Digest) bool {
			return slices.ContainsFunc(row.stored, func(s string) bool { return digest.FromString(s) == d })
		}
		got, bytes := delta.Choose(row.offers, chosenImage(), here, stored)
		if row.want == "" && got != nil || row.want != "" && (got == nil || got.Manifest.Digest != digest.FromString(row.want)) || bytes != row.bytes {
			t.Errorf("%s: chose %+v with %d bytes, want %q with %d", name, got, bytes, row.want, row.bytes)
		}
	}
}

// TestOffers: what a registry lists is read if it may be of use.
func TestOffers(t *testing.T) {
	old, older := source("old"), source("older")
	listed := func(name string, sources ...delta.Source) ocispec.Descriptor {
		m := offer(name, 1, sources...)
		desc, data, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		var doc ocispec.Manifest
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		desc.Annotations = doc.Annotations
		return desc
	}
	a, b, both := listed("a", old), listed("b", older), listed("both", old, older)
	foreign := a // of oci-delta, which names the config for certain
	foreign.Annotations = map[string]string{"io.github.containers.delta.source-config": old.Config.String()}
	silent := b
	silent.Annotations, silent.ArtifactType = nil, ""
	signature, broken, another := a, a, a
	signature.ArtifactType = "application/vnd.example.signature"
	broken.Annotations = map[string]string{"io.github.containers.delta.source-config": "sha256:short"}
	another.Annotations = map[string]string{"io.github.containers.delta.target": old.Manifest.String()}
	here := func(have ...delta.Source) func(delta.Source) bool {
		return func(s delta.Source) bool {
			return slices.ContainsFunc(have, func(h delta.Source) bool { return h.Config == s.Config })
		}
	}
	for name, row := range map[string]struct {
		list, want []ocispec.Descriptor
		here       func(delta.Source) bool
	}{
		"none":        {nil, nil, here(old)},
		"by source":   {[]ocispec.Descriptor{a, b, both}, []ocispec.Descriptor{a}, here(old)},
		"newest":      {[]ocispec.Descriptor{a, b, both}, []ocispec.Descriptor{both, b, a}, here(old, older)},
		"of others":   {[]ocispec.Descriptor{foreign, signature, broken, another}, []ocispec.Descriptor{foreign}, here(old)},
		"who knows":   {[]ocispec.Descriptor{silent}, []ocispec.Descriptor{silent}, here()},
		"not so many": {slices.Repeat([]ocispec.Descriptor{a}, 100), slices.Repeat([]ocispec.Descriptor{a}, delta.MaxOffers), here(old)},
	} {
		got := delta.Offers(row.list, chosenImage().Manifest.Digest, row.here)
		if !slices.EqualFunc(got, row.want, func(a, b ocispec.Descriptor) bool {
			return a.Digest == b.Digest && len(a.Annotations) == len(b.Annotations)
		}) {
			t.Errorf("%s: offers %v, want %v", name, got, row.want)
		}
	}
}
