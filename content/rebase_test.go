package content_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// imageOf is an image, not stored, with a layer for each history entry that is not empty.
func imageOf(t *testing.T, annotations map[string]string, createdBy ...string) *content.Image {
	t.Helper()
	img := content.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"})
	for i, by := range createdBy {
		img.Name = fmt.Sprintf("image %d", i)
		a := content.Assembly{Base: img, ConfigJSON: img.ConfigJSON, History: ocispec.History{CreatedBy: strings.TrimPrefix(by, "empty ")}}
		if !strings.HasPrefix(by, "empty ") {
			a.Layer = &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString(by), Size: int64(i)}
			a.DiffID = digest.FromString("diff " + by)
		}
		if i == len(createdBy)-1 {
			a.Annotations = annotations
		}
		out, err := content.Assemble(a)
		if err != nil {
			t.Fatal(err)
		}
		img = &content.Image{Name: img.Name, Manifest: out.Manifest, ManifestJSON: out.ManifestJSON, ConfigJSON: out.ConfigJSON, Layers: out.Layers, DiffIDs: out.DiffIDs, ChainID: out.ChainID}
		if err := json.Unmarshal(out.ConfigJSON, &img.Config); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func TestOwnLayers(t *testing.T) {
	for _, c := range []struct {
		want      int
		createdBy []string
	}{
		{0, []string{"RUN x", "COPY y"}},
		{1, []string{"RUN x", "veneer; COPY /app"}},
		{2, []string{"veneer; COPY /", "RUN x", "veneer DELTA", "empty veneer; CMD", "veneer"}},
		{0, []string{"veneer; COPY /", "veneering the world"}},
		{2, []string{"veneer", "veneer", "empty CMD x"}},
	} {
		if got := content.OwnLayers(imageOf(t, nil, c.createdBy...)); got != c.want {
			t.Errorf("%q: %d, want %d", c.createdBy, got, c.want)
		}
	}
	img := imageOf(t, nil, "veneer", "veneer")
	img.Config.History = img.Config.History[1:]
	if got := content.OwnLayers(img); got != 0 {
		t.Errorf("a history that does not fit says %d", got)
	}
}

func TestLower(t *testing.T) {
	img := imageOf(t, map[string]string{"a": "b"}, "RUN one", "empty ENV x", "RUN two", "empty CMD y", "empty veneer; CMD", "veneer; COPY /app")
	for n, want := range map[int][]string{1: {"RUN one", "ENV x"}, 2: {"RUN one", "ENV x", "RUN two", "CMD y"}, 3: {"RUN one", "ENV x", "RUN two", "CMD y", "veneer; CMD", "veneer; COPY /app"}} {
		low, err := content.Lower(img, n)
		if err != nil {
			t.Fatal(err)
		}
		var cfg ocispec.Image
		var m ocispec.Manifest
		if err := json.Unmarshal(low.ConfigJSON, &cfg); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(low.ManifestJSON, &m); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range cfg.History {
			got = append(got, h.CreatedBy)
		}
		if !slices.Equal(got, want) || !slices.Equal(cfg.RootFS.DiffIDs, img.DiffIDs[:n]) || len(m.Layers) != n || m.Annotations["a"] != "b" || m.Config.Digest != low.ConfigDesc.Digest {
			t.Errorf("%d layers: history %q, %d diff IDs, manifest %+v", n, got, len(cfg.RootFS.DiffIDs), m)
		}
	}
	for _, n := range []int{0, 4} {
		if _, err := content.Lower(img, n); err == nil {
			t.Errorf("took %d layers of 3", n)
		}
	}
}

func TestTransplant(t *testing.T) {
	base := imageOf(t, map[string]string{"of": "base", "gone": "1"}, "RUN base")
	like := imageOf(t, map[string]string{"of": "like", ocispec.AnnotationBaseImageName: "x", ocispec.AnnotationBaseImageDigest: "sha256:1"}, "RUN like", "RUN more")
	like.ConfigJSON = []byte(strings.Replace(string(like.ConfigJSON), `"config":{}`, `"vendor":{"b":1,"a":[2]},"config":{"Cmd":["x"],"OnMars":true}`, 1))
	out, err := content.Transplant(like.ConfigJSON, base)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"vendor":{"b":1,"a":[2]}`, `"OnMars":true`, `"created_by":"RUN base"`, string(base.DiffIDs[0])} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
	if strings.Contains(string(out), "RUN like") || strings.Contains(string(out), string(like.DiffIDs[0])) {
		t.Errorf("left of the other image: %s", out)
	}
	as, err := content.Annotated(base, like)
	if err != nil {
		t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(as.ManifestJSON, &m); err != nil || m.Annotations["of"] != "like" || m.Annotations["gone"] != "" || len(m.Layers) != 1 {
		t.Errorf("annotated manifest %+v, %v", m, err)
	}
	if refs, err := content.BaseOf(like); err != nil || !slices.Equal(refs, []string{"sha256:1", "x"}) {
		t.Errorf("base of it: %q, %v", refs, err)
	}
	if refs, err := content.BaseOf(base); err != nil || len(refs) > 0 {
		t.Errorf("base of none: %q, %v", refs, err)
	}
}
