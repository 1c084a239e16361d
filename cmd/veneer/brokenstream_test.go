package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer"
)

// TestVerifyBrokenStream: of what was compressed and is damaged, or ends early, each is
// found like other damage: an archive, and a layer whose digest is that of the bytes.
func TestVerifyBrokenStream(t *testing.T) {
	buildApp(t)
	archive, layout := savedApp(t)
	dir := t.TempDir()
	plain := readFile(t, archive)
	for format, packed := range map[string][]byte{"gzip": gzipped(t, plain), "zstd": zstded(t, plain)} {
		for what, data := range map[string][]byte{
			"checksum": flipped(packed, len(packed)-6), "middle": flipped(packed, len(packed)/2), "cut off": packed[:len(packed)-3],
		} {
			file := filepath.Join(dir, "app.tar."+format)
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if f := finding(t, "archive:"+file); f.Check != "blob" {
				t.Errorf("%s, %s: %+v", format, what, f)
			}
		}
	}
	for what, damage := range map[string]func([]byte) []byte{
		"checksum": func(b []byte) []byte { return flipped(b, len(b)-6) }, "cut off": func(b []byte) []byte { return b[:len(b)-9] },
	} {
		other := filepath.Join(dir, strings.ReplaceAll(what, " ", "-"))
		layer := damagedLayer(t, layout, other, damage)
		if f := finding(t, "oci:"+other); f.Check != "diff ID" || f.Object.String() != layer {
			t.Errorf("layer, %s: %+v", what, f)
		}
	}
}

// finding verifies an image, with a result of one finding.
func finding(t *testing.T, ref string) veneer.Finding {
	t.Helper()
	code, out, errOut := veneerRun(t.Context(), "verify", ref, "--format", "json", "--progress", "quiet")
	var res veneer.VerifyResult
	if err := json.Unmarshal([]byte(out), &res); err != nil || code != exitError || len(res.Findings) != 1 || errOut != "" {
		t.Fatalf("%s: %d, %v, %q, %q", ref, code, err, out, errOut)
	}
	return res.Findings[0]
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// flipped is data with a bit of the byte at a position changed.
func flipped(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[at] ^= 0x10
	return data
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

func zstded(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// damagedLayer makes a layout of another one's image whose only layer is damaged, and
// returns the digest of what it is then.
func damagedLayer(t *testing.T, layout, other string, damage func([]byte) []byte) string {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-r", layout, other).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(other, "SHA256SUMS")); err != nil {
		t.Fatal(err)
	}
	blob := func(d digest.Digest) string { return filepath.Join(other, "blobs", "sha256", d.Encoded()) }
	store := func(d *ocispec.Descriptor, data []byte) {
		d.Digest, d.Size = digest.FromBytes(data), int64(len(data))
		if err := os.WriteFile(blob(d.Digest), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var index ocispec.Index
	var manifest ocispec.Manifest
	name := filepath.Join(other, "index.json")
	if err := json.Unmarshal(readFile(t, name), &index); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(readFile(t, blob(index.Manifests[0].Digest)), &manifest); err != nil {
		t.Fatal(err)
	}
	layer := &manifest.Layers[0]
	store(layer, damage(readFile(t, blob(layer.Digest))))
	store(&index.Manifests[0], encode(manifest))
	if err := os.WriteFile(name, encode(index), 0o600); err != nil {
		t.Fatal(err)
	}
	return layer.Digest.String()
}
