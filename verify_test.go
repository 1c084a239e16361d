package veneer_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
)

// crafted is an image of one layer, written byte by byte as its fields say.
type crafted struct {
	tar       []byte // uncompressed layer
	blob      []byte // what is stored; nil: the tar, gzipped
	mediaType string // of the layer
	diffIDs   []digest.Digest
	history   int // entries that made a layer
	noLabels  bool
}

func archiveOf(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// craft stores the image as "craft:1".
func craft(t *testing.T, e *engine.Engine, c crafted) {
	t.Helper()
	ctx, release, err := lease.New(e.Context(t.Context()), e.Client.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := release(ctx); err != nil {
			t.Error(err)
		}
	}()
	put := func(mediaType string, data []byte, labels map[string]string) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		if c.noLabels {
			labels = nil
		}
		if err := content.WriteBlob(ctx, e.Client.ContentStore(), d, labels, data); err != nil {
			t.Fatal(err)
		}
		return d
	}
	if c.blob == nil {
		c.blob = gzipped(t, c.tar)
	}
	if c.mediaType == "" {
		c.mediaType = ocispec.MediaTypeImageLayerGzip
	}
	if c.diffIDs == nil {
		c.diffIDs = []digest.Digest{digest.FromBytes(c.tar)}
	}
	cfg := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: c.diffIDs}}
	for i := range c.history {
		cfg.History = append(cfg.History, ocispec.History{CreatedBy: fmt.Sprint(i)}, ocispec.History{EmptyLayer: true})
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	layer := put(c.mediaType, c.blob, nil)
	config := put(ocispec.MediaTypeImageConfig, encode(cfg), nil)
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer}}
	m.SchemaVersion = 2
	manifest := put(m.MediaType, encode(m), map[string]string{
		"containerd.io/gc.ref.content.config": config.Digest.String(), "containerd.io/gc.ref.content.l.0": layer.Digest.String(),
	})
	if _, err := content.Record(ctx, e.Client, "docker.io/library/craft:1", manifest); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyCrafted: what no tool would store is found without a snapshot, and so by anybody.
func TestVerifyCrafted(t *testing.T) {
	file := &tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644}
	good := archiveOf(t, file)
	for _, c := range []struct {
		name  string
		image crafted
		want  []string
	}{
		{"good", crafted{tar: good, history: 1}, nil},
		{"sha512", crafted{tar: good, history: 1, diffIDs: []digest.Digest{digest.SHA512.FromBytes(good)}}, nil},
		{"no history", crafted{tar: good}, []string{"warning history its layer has no entry"}},
		{"too much history", crafted{tar: good, history: 2}, []string{"error history 2 entries made a layer, but the image has 1 layer"}},
		{"diff ID", crafted{tar: good, history: 1, diffIDs: []digest.Digest{digest.FromString("x")}}, []string{"error diff ID the content is " + digest.FromBytes(good).String() + ", but the config says "}},
		{"media type", crafted{tar: good, history: 1, mediaType: ocispec.MediaTypeImageLayerZstd}, []string{"error media type application/vnd.oci.image.layer.v1.tar+zstd means compression zstd, but the blob's is gzip"}},
		{"plain as gzip", crafted{tar: good, blob: good, history: 1}, []string{"error media type "}},
		{"diff IDs", crafted{tar: good, history: 1, diffIDs: []digest.Digest{digest.FromBytes(good), digest.FromBytes(good)}}, []string{"error manifest "}},
		{"cut short", crafted{tar: good, blob: gzipped(t, good)[:40], history: 1}, []string{"error diff ID the bytes are those of the digest, but no layer that can be unpacked: "}},
		{"no tar", crafted{tar: []byte(strings.Repeat("no tar ", 200)), history: 1}, []string{"error diff ID the bytes are those of the digest, but no layer"}},
		{"labels", crafted{tar: good, history: 1, noLabels: true}, []string{
			"error label containerd.io/gc.ref.content.config is missing: garbage collection would remove config sha256:",
			"error label containerd.io/gc.ref.content.l.0 is missing: garbage collection would remove layer sha256:",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := openEmbedded(t, t.TempDir())
			craft(t, e, c.image)
			res, err := veneer.Verify(t.Context(), e, veneer.VerifyRequest{Image: "craft:1"})
			if err != nil {
				t.Fatal(err)
			}
			errors := 0
			for i, f := range res.Findings {
				got := fmt.Sprintf("%s %s %s", f.Severity, f.Check, f.Message)
				if i >= len(c.want) || !strings.HasPrefix(got, c.want[i]) {
					t.Errorf("finding %q, want %q", got, c.want)
				}
				if f.Severity == veneer.SeverityError {
					errors++
				}
			}
			if len(res.Findings) != len(c.want) || res.Errors != errors {
				t.Errorf("%d findings, %d errors: want %q", len(res.Findings), res.Errors, c.want)
			}
			if !c.image.noLabels {
				return
			}
			if res, err = veneer.Verify(t.Context(), e, veneer.VerifyRequest{Image: "craft:1", Repair: true}); err != nil || res.Errors != 0 || res.Repaired != 2 {
				t.Errorf("repair: %+v, %v", res, err)
			}
			if res, err = veneer.Verify(t.Context(), e, veneer.VerifyRequest{Image: "craft:1"}); err != nil || len(res.Findings) != 0 {
				t.Errorf("repaired: %+v, %v", res, err)
			}
		})
	}
}

// TestVerifyMissing: what cannot be verified is no finding but an error.
func TestVerifyMissing(t *testing.T) {
	e := openEmbedded(t, t.TempDir())
	craft(t, e, crafted{tar: archiveOf(t), history: 1})
	for ref, platform := range map[string]string{"absent:1": "", "craft:1": "windows/amd64"} {
		if _, err := veneer.Verify(t.Context(), e, veneer.VerifyRequest{Image: ref, Platform: platform}); err == nil || !strings.HasPrefix(err.Error(), "verify "+ref+": ") {
			t.Errorf("%s for %q: %v", ref, platform, err)
		}
	}
}
