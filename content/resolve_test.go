package content_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

const amd64 = "linux/amd64"

func TestResolveByEveryName(t *testing.T) {
	ctx, s := storetest.Open(t)
	one := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	two := storetest.NewImage(storetest.Spec{Files: []string{"c"}})
	idx := storetest.NewIndex(two.Manifest.On("linux", "amd64", ""))
	s.Put(ctx, t, one.Blobs()...)
	s.Put(ctx, t, append(two.Blobs(), idx)...)
	s.Name(ctx, t, "docker.io/library/one:latest", one.Manifest.Descriptor)
	s.Name(ctx, t, "raw-name", one.Manifest.Descriptor)
	s.Name(ctx, t, "reg.example.com/two:1", idx.Descriptor)

	for _, c := range []struct {
		ref  string
		want digest.Digest
	}{
		{"one", one.Manifest.Digest},
		{"docker.io/library/one:latest", one.Manifest.Digest},
		{"raw-name", one.Manifest.Digest},
		{"one@" + one.Manifest.Digest.String(), one.Manifest.Digest},
		{"one:9@" + one.Manifest.Digest.String(), one.Manifest.Digest},
		{one.Manifest.Digest.String(), one.Manifest.Digest},
		{one.Manifest.Digest.Encoded()[:12], one.Manifest.Digest},
		{"sha256:" + one.Config.Digest.Encoded()[:12], one.Manifest.Digest},
		{one.Config.Digest.Encoded(), one.Manifest.Digest},
		{"reg.example.com/two:1", two.Manifest.Digest},
		{idx.Digest.Encoded()[:12], two.Manifest.Digest},
		{two.Manifest.Digest.Encoded()[:12], two.Manifest.Digest},
		{two.Config.Digest.String(), two.Manifest.Digest},
		{"reg.example.com/two@" + idx.Digest.String(), two.Manifest.Digest},
	} {
		img, err := content.Resolve(ctx, s.Client, c.ref, amd64)
		if err != nil {
			t.Errorf("%s: %v", c.ref, err)
			continue
		}
		if img.Manifest.Digest != c.want {
			t.Errorf("%s: manifest %s, want %s", c.ref, img.Manifest.Digest, c.want)
		}
	}

	img, err := content.Resolve(ctx, s.Client, "one", "")
	if err != nil {
		t.Fatal(err)
	}
	if img.Name != "docker.io/library/one:latest" || img.Docker || len(img.Layers) != 2 || len(img.Missing) != 0 ||
		img.ChainID != identity.ChainID(one.DiffIDs) || !bytes.Equal(img.ManifestJSON, one.Manifest.Bytes) ||
		!bytes.Equal(img.ConfigJSON, one.Config.Bytes) || img.ConfigDesc.Digest != one.Config.Digest || img.Platform.Architecture != "amd64" {
		t.Errorf("resolved %+v", img)
	}
	// A digest of one image under the name of another is not that image.
	if _, err := content.Resolve(ctx, s.Client, "one@"+idx.Digest.String(), ""); !errdefs.IsNotFound(err) {
		t.Errorf("one with the digest of another: %v", err)
	}
}

func TestResolveNotFoundSaysWhatThereIs(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	s.Put(ctx, t, img.Blobs()...)
	s.Name(ctx, t, "reg.example.com/tools/app:2", img.Manifest.Descriptor)
	other := namespaces.WithNamespace(ctx, "k8s.io")
	s.Put(other, t, img.Blobs()...)
	s.Name(other, t, "docker.io/library/web:latest", img.Manifest.Descriptor)

	for ref, says := range map[string][]string{
		"app:1":        {`no image "app:1" in namespace "test"`, "looked for docker.io/library/app:1", "reg.example.com/tools/app:2"},
		"web":          {`it is in namespace "k8s.io"`},
		"sha256:01234": {`no image "sha256:01234"`},
	} {
		_, err := content.Resolve(ctx, s.Client, ref, "")
		if !errdefs.IsNotFound(err) || !errors.Is(err, content.ErrNoImage) || errors.Is(err, content.ErrOtherNamespace) != (ref == "web") {
			t.Errorf("%s: %v, want not found", ref, err)
			continue
		}
		for _, part := range says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error lacks %q: %v", ref, part, err)
			}
		}
	}
}

func TestResolveAmbiguousID(t *testing.T) {
	ctx, s := storetest.Open(t)
	// Two images whose digests begin alike: try contents until they do.
	byPrefix := map[string]storetest.Image{}
	for i := 0; ; i++ {
		img := storetest.NewImage(storetest.Spec{Files: []string{strings.Repeat("x", i+1)}})
		prefix := img.Manifest.Digest.Encoded()[:4]
		if other, ok := byPrefix[prefix]; ok {
			s.Put(ctx, t, append(img.Blobs(), other.Blobs()...)...)
			s.Name(ctx, t, "one:1", img.Manifest.Descriptor)
			s.Name(ctx, t, "two:1", other.Manifest.Descriptor)
			_, err := content.Resolve(ctx, s.Client, "sha256:"+prefix, "")
			if err == nil || !strings.Contains(err.Error(), "ambiguous") || !strings.Contains(err.Error(), "two:1") {
				t.Errorf("ambiguous ID: %v", err)
			}
			return
		}
		byPrefix[prefix] = img
	}
}

func TestResolvePlatforms(t *testing.T) {
	ctx, s := storetest.Open(t)
	amd := storetest.NewImage(storetest.Spec{Files: []string{"amd"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"arm"}, Arch: "arm64"})
	armv7 := storetest.NewImage(storetest.Spec{Files: []string{"armv7"}, Arch: "arm"})
	riscv := storetest.NewImage(storetest.Spec{Files: []string{"riscv"}, Arch: "riscv64"})
	att := storetest.NewImage(storetest.Spec{Files: []string{"att"}})
	idx := storetest.NewIndex(
		att.Manifest.On("unknown", "unknown", ""),
		armv7.Manifest.On("linux", "arm", "v7"),
		arm.Manifest.Descriptor, // its platform is in its config
		amd.Manifest.On("linux", "amd64", ""),
		riscv.Manifest.On("linux", "riscv64", ""),
	)
	nested := storetest.NewIndex(idx.Descriptor)
	s.Put(ctx, t, append(amd.Blobs(), idx, nested)...)
	s.Put(ctx, t, append(arm.Blobs(), armv7.Blobs()...)...)
	s.Name(ctx, t, "multi", idx.Descriptor)
	s.Name(ctx, t, "nested", nested.Descriptor)
	s.Name(ctx, t, "single", arm.Manifest.Descriptor)

	for _, c := range []struct {
		ref, platform string
		want          storetest.Image
	}{
		{"multi", "linux/amd64", amd},
		{"multi", "linux/arm64", arm},
		{"multi", "linux/arm64/v8", arm},
		{"multi", "linux/arm/v7", armv7},
		{"nested", "linux/arm64", arm},
		{"single", "", arm}, // nothing else to choose
		{"single", "linux/arm64", arm},
	} {
		img, err := content.Resolve(ctx, s.Client, c.ref, c.platform)
		if err != nil {
			t.Errorf("%s for %s: %v", c.ref, c.platform, err)
		} else if img.Manifest.Digest != c.want.Manifest.Digest {
			t.Errorf("%s for %s: got %s", c.ref, c.platform, img.Manifest.Digest)
		}
	}
	lying := storetest.NewIndex(amd.Manifest.On("linux", "arm64", ""), amd.Manifest.On("linux", "amd64", "v3"))
	s.Put(ctx, t, lying)
	s.Name(ctx, t, "lying", lying.Descriptor)
	for platform, want := range map[string]string{"linux/arm64": "linux/arm64", "linux/amd64/v3": "linux/amd64/v3"} {
		if img, err := content.Resolve(ctx, s.Client, "lying", platform); err != nil || content.FormatPlatform(img.Platform) != want {
			t.Errorf("the index's platform counts: %+v, %v", img, err)
		}
	}
	img, err := content.Resolve(ctx, s.Client, "multi", "linux/arm/v7")
	if err != nil || img.Platform.Variant != "v7" {
		t.Errorf("variant of the index entry: %+v, %v", img, err)
	}
	for _, c := range []struct{ ref, platform, says string }{
		{"multi", "linux/riscv64", "is listed, but its content is not in this engine"},
		{"multi", "linux/s390x", "it has linux/arm/v7, linux/arm64, linux/amd64, linux/riscv64"},
		{"single", "linux/amd64", "for linux/arm64 only"},
		{"multi", "li nux", "OS/ARCH"},
	} {
		_, err := content.Resolve(ctx, s.Client, c.ref, c.platform)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s for %s: %v, want %q", c.ref, c.platform, err, c.says)
		}
	}
}

func TestResolveRefusesConfusion(t *testing.T) {
	ctx, s := storetest.Open(t)
	const (
		m     = `"schemaVersion":2,"config":$CONFIG,"layers":$LAYERS`
		good  = `"mediaType":"application/vnd.oci.image.manifest.v1+json",`
		cfg   = `"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":$DIFFIDS}`
		layer = `{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:` + hex64 + `","size":1}`
	)
	for name, c := range map[string]struct {
		spec storetest.Spec
		says string
	}{
		"sound":                {storetest.Spec{Manifest: "{" + good + m + "}", Config: "{" + cfg + "}"}, ""},
		"layers and manifests": {storetest.Spec{Manifest: "{" + good + m + `,"manifests":[]}`}, "index and a manifest"},
		"other type":           {storetest.Spec{Manifest: `{"mediaType":"application/vnd.oci.image.index.v1+json",` + m + "}"}, "calls itself"},
		"docker type":          {storetest.Spec{Manifest: `{"mediaType":"application/vnd.docker.distribution.manifest.v2+json",` + m + "}"}, "calls itself"},
		"duplicate key":        {storetest.Spec{Manifest: `{"layers":[],` + m + "}"}, "twice"},
		"other case":           {storetest.Spec{Manifest: `{"Layers":[],` + m + "}"}, "layers"},
		"schema 1":             {storetest.Spec{Manifest: `{"schemaVersion":1,"fsLayers":[]}`}, "schema 1"},
		"no object":            {storetest.Spec{Manifest: `[1]`}, "not an object"},
		"trailing":             {storetest.Spec{Manifest: "{" + m + "} {}"}, "JSON"},
		"artifact":             {storetest.Spec{Manifest: `{"schemaVersion":2,"layers":[],"config":{"mediaType":"application/vnd.example+json","digest":"sha256:` + hex64 + `","size":1}}`}, "no container image"},
		"path as digest":       {storetest.Spec{Manifest: `{"schemaVersion":2,"config":$CONFIG,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:../../../etc/passwd","size":1}]}`}, "digest"},
		"no layer":             {storetest.Spec{Manifest: `{"schemaVersion":2,"config":$CONFIG,"layers":[{"mediaType":"text/html","digest":"sha256:` + hex64 + `","size":1}]}`}, "no layer type"},
		"many layers":          {storetest.Spec{Manifest: `{"schemaVersion":2,"config":$CONFIG,"layers":[` + strings.Repeat(layer+",", content.MaxLayers) + layer + `]}`}, "1001 layers, more than 1000"},
		"negative size":        {storetest.Spec{Manifest: `{"schemaVersion":2,"config":$CONFIG,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:` + hex64 + `","size":-1}]}`}, "size"},
		"diff IDs missing":     {storetest.Spec{Config: `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}`}, "0 diff IDs, the manifest 1 layer:"},
		"bad diff ID":          {storetest.Spec{Config: `{"rootfs":{"type":"layers","diff_ids":["sha256:xyz"]}}`}, "diff IDs"},
		"duplicate config key": {storetest.Spec{Config: "{" + cfg + `,"rootfs":{}}`}, "twice"},
		"huge":                 {storetest.Spec{Config: "{" + cfg + `,"x":"` + strings.Repeat("y", 9<<20) + `"}`}, "more than the"},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Files = []string{"f"}
			img := storetest.NewImage(c.spec)
			s.Put(ctx, t, img.Blobs()...)
			s.Name(ctx, t, name, img.Manifest.Descriptor)
			_, err := content.Resolve(ctx, s.Client, img.Manifest.Digest.String(), "")
			if c.says == "" && err == nil {
				return
			}
			if err == nil || c.says == "" || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	idx := storetest.JSON(ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[],"layers":[]}`)
	s.Put(ctx, t, idx)
	s.Name(ctx, t, "docker.io/library/idx:latest", idx.Descriptor)
	if _, err := content.Resolve(ctx, s.Client, "idx", ""); err == nil || !strings.Contains(err.Error(), "index and a manifest") {
		t.Errorf("index with layers: %v", err)
	}
	schema1 := storetest.JSON(images.MediaTypeDockerSchema1Manifest, `{"schemaVersion":1}`)
	s.Put(ctx, t, schema1)
	s.Name(ctx, t, "docker.io/library/old:latest", schema1.Descriptor)
	if _, err := content.Resolve(ctx, s.Client, "old", ""); err == nil || !strings.Contains(err.Error(), "schema 1") {
		t.Errorf("schema 1: %v", err)
	}
}

func TestResolveIndexLoopsEnd(t *testing.T) {
	ctx, s := storetest.Open(t)
	idx := storetest.NewIndex()
	s.Put(ctx, t, idx)
	for range 10 {
		idx = storetest.NewIndex(idx.Descriptor)
		s.Put(ctx, t, idx)
	}
	s.Name(ctx, t, "docker.io/library/deep:latest", idx.Descriptor)
	if _, err := content.Resolve(ctx, s.Client, "deep", ""); err == nil || !strings.Contains(err.Error(), "within each other") {
		t.Errorf("deep index: %v", err)
	}
}

// Documents that name more than 100,000 blobs are refused where they do, and not before.
func TestDocumentsAreBounded(t *testing.T) {
	ctx, s := storetest.Open(t)
	layers := strings.Repeat(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:`+hex64+`","size":1},`, content.MaxLayers-2)
	config := `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + hex64 + `","size":1}`
	var manifests []ocispec.Descriptor
	for i := range 101 {
		m := storetest.JSON(ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s],"annotations":{"a.b":"%d"}}`, config, strings.TrimSuffix(layers, ","), i))
		s.Put(ctx, t, m)
		manifests = append(manifests, m.Descriptor)
	}
	idx := storetest.NewIndex(manifests...)
	s.Put(ctx, t, idx)
	all, err := content.Documents(ctx, s.ContentStore(), idx.Descriptor)
	if err == nil || !strings.Contains(err.Error(), "more than 100000 blobs") || len(all) != 100 { // the index, and 99 of them
		t.Errorf("%d documents, %v", len(all), err)
	}
}

// Damage must be found in every document, since containerd's store does not
// look at what it returns.
func TestResolveDamage(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	s.Put(ctx, t, img.Blobs()...)
	s.Name(ctx, t, "docker.io/library/app:latest", img.Manifest.Descriptor)
	for what, b := range map[string]storetest.Blob{"manifest": img.Manifest, "config": img.Config} {
		path := s.BlobPath(b.Digest)
		flipped := bytes.Replace(b.Bytes, []byte("linux"), []byte("linus"), 1)
		if what == "manifest" {
			flipped = bytes.Replace(b.Bytes, []byte(`"schemaVersion":2`), []byte(`"schemaVersion":3`), 1)
		}
		for how, data := range map[string][]byte{"flipped": flipped, "cut": b.Bytes[:len(b.Bytes)-1], "longer": append(bytes.Clone(b.Bytes), ' ')} {
			overwrite(t, path, data)
			if _, err := content.Resolve(ctx, s.Client, "app", ""); !errors.Is(err, content.ErrCorrupt) {
				t.Errorf("%s %s: %v", what, how, err)
			}
		}
		overwrite(t, path, b.Bytes)
	}
	if _, err := content.Resolve(ctx, s.Client, "app", ""); err != nil {
		t.Error(err)
	}
}

func TestResolveMissingLayers(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	s.Put(ctx, t, img.Manifest, img.Config, img.Layers[1])
	s.Name(ctx, t, "docker.io/library/app:latest", img.Manifest.Descriptor)
	got, err := content.Resolve(ctx, s.Client, "app", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Missing) != 1 || got.Missing[0].Digest != img.Layers[0].Digest {
		t.Errorf("missing %v", got.Missing)
	}
}

func TestScratch(t *testing.T) {
	ctx, s := storetest.Open(t)
	img, err := content.Resolve(ctx, s.Client, "scratch", "linux/arm/v6")
	if err != nil {
		t.Fatal(err)
	}
	if !img.IsScratch() || img.Platform.Variant != "v6" || img.ChainID != "" || img.Docker ||
		!strings.Contains(string(img.ConfigJSON), `"variant":"v6"`) || !strings.Contains(string(img.ConfigJSON), `"diff_ids":[]`) {
		t.Errorf("scratch: %+v\n%s", img, img.ConfigJSON)
	}
}

func overwrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
