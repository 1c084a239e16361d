package content_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// fullConfig has every field that Docker writes or wrote, and what no struct
// of today knows: unknown keys at each level, numbers that no float holds,
// and strings that json.Marshal would escape.
const fullConfig = `{
  "id": "f00", "parent": "b00", "docker_version": "20.10.7", "container": "abc",
  "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) "], "ArgsEscaped": true},
  "created": "2020-01-02T03:04:05.123456789Z", "author": "A <a@example.com> & co",
  "architecture": "amd64", "variant": "v2", "os": "linux",
  "os.version": "10.0.1", "os.features": ["win32k"], "Size": 12345678901234567890,
  "config": {
    "Hostname": "h", "Domainname": "", "User": "1000:1000", "AttachStdin": false,
    "ExposedPorts": {"80/tcp": {}}, "Tty": false, "Env": ["PATH=/bin", "X=<&>\u2028"],
    "Cmd": ["run"], "Healthcheck": {"Test": ["CMD", "x"], "Interval": 30000000000, "StartInterval": 5},
    "ArgsEscaped": true, "Image": "sha256:1", "Volumes": {"/v": {}}, "WorkingDir": "/w",
    "Entrypoint": ["/e"], "NetworkDisabled": true, "MacAddress": "", "OnBuild": ["RUN x"],
    "Labels": {"containerd.io/gc.root": "evil", "l": "1"}, "StopSignal": "SIGTERM", "StopTimeout": 7,
    "Shell": ["/bin/bash"], "Memory": 0, "x-unknown": {"deep": [1, {"n": 123456789012345678901234567890.5}]}
  },
  "rootfs": {"type": "layers", "diff_ids": $DIFFIDS, "x-rootfs": 1e400},
  "history": [{"created": "2020-01-02T03:04:05Z", "created_by": "add <x> && y", "x-history": 18446744073709551616}],
  "x-vendor": {"a": {"b": {"c": null}}}, "moby.buildkit.cache.v0": "eyJ9"
}`

const fullManifest = `{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "artifactType": "application/vnd.example", "x-top": 36893488147419103232,
  "config": $CONFIG, "layers": $LAYERS,
  "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:` + hex64 + `", "size": 7},
  "annotations": {"org.opencontainers.image.base.name": "older", "org.opencontainers.image.base.digest": "sha256:0", "keep": "<me>"}}`

var created = time.Date(2024, 2, 3, 4, 5, 6, 0, time.FixedZone("east", 9*3600))

func TestAssembleKeepsWhatItDoesNotKnow(t *testing.T) {
	base := resolved(t, storetest.Spec{Files: []string{"a"}, Config: fullConfig, Manifest: fullManifest})
	layer, diffID := newLayer(t, ocispec.MediaTypeImageLayerZstd)
	a := content.Assembly{
		Base: base, ConfigJSON: base.ConfigJSON, Layer: &layer, DiffID: diffID, Created: created,
		History:  ocispec.History{CreatedBy: "veneer build", Comment: "c", Author: "me"},
		BaseName: "docker.io/library/base:1", BaseDigest: base.Manifest.Digest,
		Annotations: map[string]string{"mine": "yes"},
	}
	out, err := content.Assemble(a)
	if err != nil {
		t.Fatal(err)
	}
	again, err := content.Assemble(a)
	if err != nil || again.Manifest.Digest != out.Manifest.Digest {
		t.Errorf("a second time: %v, %v", again.Manifest, err)
	}

	was, is := members(t, base.ConfigJSON), members(t, out.ConfigJSON)
	for k, v := range was {
		switch k {
		case "rootfs", "history", "created":
		default:
			if is[k] != v {
				t.Errorf("config %s:\n was %s\n is  %s", k, v, is[k])
			}
		}
	}
	if len(is) != len(was) {
		t.Errorf("config has %d members, had %d", len(is), len(was))
	}
	if is["created"] != `"2024-02-02T19:05:06Z"` {
		t.Errorf("created %s", is["created"])
	}
	if !strings.Contains(is["rootfs"], `"x-rootfs":1e400`) || !strings.Contains(is["history"], "18446744073709551616") {
		t.Errorf("rootfs %s, history %s", is["rootfs"], is["history"])
	}
	if !strings.Contains(is["history"], `"created_by":"add <x> && y"`) {
		t.Errorf("history %s", is["history"])
	}

	m := members(t, out.ManifestJSON)
	if m["x-top"] != "36893488147419103232" || m["subject"] != "" || m["artifactType"] != "" {
		t.Errorf("manifest %s", out.ManifestJSON)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(out.ManifestJSON, &manifest); err != nil {
		t.Fatal(err)
	}
	wantAnnotations := map[string]string{
		"keep": "<me>", "mine": "yes",
		ocispec.AnnotationBaseImageName: "docker.io/library/base:1", ocispec.AnnotationBaseImageDigest: base.Manifest.Digest.String(),
	}
	if !reflect.DeepEqual(manifest.Annotations, wantAnnotations) {
		t.Errorf("annotations %v", manifest.Annotations)
	}
	if len(manifest.Layers) != 2 || manifest.Layers[1].Digest != layer.Digest || manifest.Config.Digest != digest.FromBytes(out.ConfigJSON) {
		t.Errorf("manifest %s", out.ManifestJSON)
	}
	if out.ChainID != identity.ChainID(append(base.DiffIDs[:1:1], diffID)) {
		t.Errorf("chain ID %s", out.ChainID)
	}
}

func TestAssembleWithoutLayer(t *testing.T) {
	base := resolved(t, storetest.Spec{Files: []string{"a"}})
	out, err := content.Assemble(content.Assembly{Base: base, ConfigJSON: base.ConfigJSON, Created: created})
	if err != nil {
		t.Fatal(err)
	}
	cfg := parseConfig(t, out)
	if len(cfg.RootFS.DiffIDs) != 1 || len(out.Layers) != 1 || out.ChainID != base.ChainID {
		t.Errorf("layers %v, diff IDs %v", out.Layers, cfg.RootFS.DiffIDs)
	}
	if n := len(cfg.History); n != 2 || !cfg.History[1].EmptyLayer {
		t.Errorf("history %+v", cfg.History)
	}
}

func TestAssembleScratch(t *testing.T) {
	base := content.Scratch(ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v6"})
	layer, diffID := newLayer(t, ocispec.MediaTypeImageLayerGzip)
	out, err := content.Assemble(content.Assembly{Base: base, ConfigJSON: base.ConfigJSON, Layer: &layer, DiffID: diffID, Created: created})
	if err != nil {
		t.Fatal(err)
	}
	cfg := parseConfig(t, out)
	if cfg.Variant != "v6" || cfg.Architecture != "arm" || len(cfg.History) != 1 || len(cfg.RootFS.DiffIDs) != 1 {
		t.Errorf("config %s", out.ConfigJSON)
	}
	if out.Manifest.MediaType != ocispec.MediaTypeImageManifest || strings.Contains(string(out.ManifestJSON), "annotations") {
		t.Errorf("manifest %s", out.ManifestJSON)
	}
}

// The history never has more entries for layers than there are layers, and
// the new entry is that of the new layer (image-spec config.md, history).
func TestAssembleHistoryFitsLayers(t *testing.T) {
	const cfg = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":$DIFFIDS}`
	for name, history := range map[string]string{
		"none":   ``,
		"null":   `,"history":null`,
		"short":  `,"history":[{"created_by":"one"},{"created_by":"env","empty_layer":true}]`,
		"exact":  `,"history":[{"created_by":"one"},{"created_by":"two"}]`,
		"excess": `,"history":[{"created_by":"one"},{"created_by":"two"},{"created_by":"three"},{"created_by":"four","x":1}]`,
	} {
		base := resolved(t, storetest.Spec{Files: []string{"a", "b"}, Config: cfg + history + "}"})
		layer, diffID := newLayer(t, ocispec.MediaTypeImageLayerGzip)
		out, err := content.Assemble(content.Assembly{
			Base: base, ConfigJSON: base.ConfigJSON, Layer: &layer, DiffID: diffID,
			Created: created, History: ocispec.History{CreatedBy: "new"},
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var withLayer []ocispec.History
		for _, h := range parseConfig(t, out).History {
			if !h.EmptyLayer {
				withLayer = append(withLayer, h)
			}
		}
		if len(withLayer) != 3 || withLayer[2].CreatedBy != "new" {
			t.Errorf("%s: %d entries with layers, want 3, the last the new one: %s", name, len(withLayer), out.ConfigJSON)
		}
		if name == "excess" && !strings.Contains(string(out.ConfigJSON), `"x":1`) {
			t.Errorf("unknown field of a history entry lost: %s", out.ConfigJSON)
		}
	}
}

func TestAssembleKeepsTheFamily(t *testing.T) {
	base := resolved(t, storetest.Spec{Files: []string{"a"}, Docker: true})
	if !base.Docker {
		t.Fatal("base is not Docker's")
	}
	layer, diffID := newLayer(t, images.MediaTypeDockerSchema2LayerGzip)
	ok := content.Assembly{
		Base: base, ConfigJSON: base.ConfigJSON, Layer: &layer, DiffID: diffID, Created: created,
		BaseName: "docker.io/library/base:1", BaseDigest: base.Manifest.Digest,
	}
	out, err := content.Assemble(ok)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out.ManifestJSON), "vnd.oci") || strings.Contains(string(out.ManifestJSON), "annotations") {
		t.Errorf("manifest %s", out.ManifestJSON)
	}
	if out.Manifest.MediaType != images.MediaTypeDockerSchema2Manifest || out.ConfigDesc.MediaType != images.MediaTypeDockerSchema2Config {
		t.Errorf("types %s, %s", out.Manifest.MediaType, out.ConfigDesc.MediaType)
	}

	for says, edit := range map[string]func(*content.Assembly){
		"no annotations": func(a *content.Assembly) { a.Annotations = map[string]string{"a": "b"} },
		"has no zstd layers": func(a *content.Assembly) {
			l := layer
			l.MediaType = ocispec.MediaTypeImageLayerZstd
			a.Layer = &l
		},
		"does not go with": func(a *content.Assembly) {
			l := layer
			l.MediaType = ocispec.MediaTypeImageLayerGzip
			a.Layer = &l
		},
		"diff ID": func(a *content.Assembly) { a.DiffID = "" },
	} {
		a := ok
		edit(&a)
		if _, err := content.Assemble(a); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

func TestLayerMediaType(t *testing.T) {
	for _, c := range []struct {
		docker      bool
		compression string
		want        string
	}{
		{false, "gzip", ocispec.MediaTypeImageLayerGzip},
		{false, "zstd", ocispec.MediaTypeImageLayerZstd},
		{false, "none", ocispec.MediaTypeImageLayer},
		{true, "gzip", images.MediaTypeDockerSchema2LayerGzip},
		{true, "none", images.MediaTypeDockerSchema2Layer},
		{true, "zstd", ""},
		{false, "xz", ""},
	} {
		got, err := content.LayerMediaType(c.docker, c.compression)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("LayerMediaType(%v, %s) = %q, %v", c.docker, c.compression, got, err)
		}
	}
}

// resolved stores an image and resolves it.
func resolved(t *testing.T, spec storetest.Spec) *content.Image {
	t.Helper()
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(spec)
	s.Put(ctx, t, img.Blobs()...)
	s.Name(ctx, t, "docker.io/library/base:latest", img.Manifest.Descriptor)
	got, err := content.Resolve(ctx, s.Client, "base", "")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func newLayer(t *testing.T, mediaType string) (ocispec.Descriptor, digest.Digest) {
	t.Helper()
	raw := storetest.Tar(map[string]string{"new": "file"})
	return storetest.NewBlob(mediaType, storetest.Gzip(raw)).Descriptor, digest.FromBytes(raw)
}

func parseConfig(t *testing.T, out *content.Image) ocispec.Image {
	t.Helper()
	var cfg ocispec.Image
	if err := json.Unmarshal(out.ConfigJSON, &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// members splits an object; the values are compacted, else verbatim.
func members(t *testing.T, data []byte) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for k, v := range raw {
		out[k] = compact(t, v)
	}
	return out
}

func compact(t *testing.T, data []byte) string {
	t.Helper()
	var b strings.Builder
	inString, escaped := false, false
	for _, c := range data {
		if !inString && strings.IndexByte(" \n\t\r", c) >= 0 {
			continue
		}
		if c == '"' && !escaped {
			inString = !inString
		}
		escaped = c == '\\' && !escaped
		b.WriteByte(c)
	}
	return b.String()
}

// Whatever a base's documents hold, the result is refused or sound.
func FuzzAssemble(f *testing.F) {
	f.Add(`{"history":[{},{"empty_layer":true}],"rootfs":{"diff_ids":[]}}`, `{"layers":[{"x":1}],"annotations":{"a":"b"}}`, true)
	f.Add(`{"HISTORY":[]}`, `{"layers":null,"subject":7}`, false)
	f.Add(`{"rootfs":null,"history":null}`, `{}`, true)
	f.Fuzz(func(t *testing.T, config, manifest string, withLayer bool) {
		base := &content.Image{ConfigJSON: []byte(config), ManifestJSON: []byte(manifest)}
		a := content.Assembly{Base: base, ConfigJSON: base.ConfigJSON, Created: created}
		if withLayer {
			layer, diffID := newLayer(t, ocispec.MediaTypeImageLayerGzip)
			a.Layer, a.DiffID = &layer, diffID
		}
		out, err := content.Assemble(a)
		if err != nil {
			return
		}
		cfg := parseConfig(t, out)
		if len(cfg.RootFS.DiffIDs) != len(out.DiffIDs) || !json.Valid(out.ManifestJSON) {
			t.Errorf("config %s, manifest %s", out.ConfigJSON, out.ManifestJSON)
		}
		steps := 0
		for _, h := range cfg.History {
			if !h.EmptyLayer {
				steps++
			}
		}
		if steps > len(out.DiffIDs) {
			t.Errorf("%d history entries for %d layers", steps, len(out.DiffIDs))
		}
	})
}
