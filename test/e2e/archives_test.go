package e2e

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/test/harness"
)

// smallArchive writes an OCI archive with one small layer; the image has no name.
func smallArchive(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	layer, file := filepath.Join(dir, "layer.tar"), filepath.Join(dir, "image.tar")
	f, err := os.Create(layer)
	must(t, err)
	w := tar.NewWriter(f)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/hello", Mode: 0o644, Size: 6}))
	_, err = io.WriteString(w, "hello\n")
	must(t, err, w.Close(), f.Close())
	must(t, harness.WriteImage(file, harness.Image{Layers: []string{layer}, Config: ocispec.ImageConfig{Env: []string{"PATH=/bin"}}}))
	return file
}

// dockerArchive writes the same as docker save did for years: a manifest.json and no layout. It comes from crane.
func dockerArchive(t *testing.T) string {
	t.Helper()
	crane, err := harness.Crane()
	harness.Check(t, err)
	r := harness.NewRegistry(t)
	name, file := r.Addr()+"/small:1", filepath.Join(t.TempDir(), "docker.tar")
	for _, args := range [][]string{{"push", harness.Extract(t, smallArchive(t)), name}, {"pull", "--format", "tarball", name, file}} {
		if out, err := exec.CommandContext(t.Context(), crane, args...).CombinedOutput(); err != nil {
			t.Fatalf("crane %s: %v: %s", args[0], err, out)
		}
	}
	return file
}

// compressed writes a compressed copy of a file.
func compressed(t *testing.T, file, how string) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "image.tar."+how))
	must(t, err)
	var w io.WriteCloser = out
	switch how {
	case "gzip":
		w = gzip.NewWriter(out)
	case "zstd":
		w, err = zstd.NewWriter(out)
		must(t, err)
	}
	in, err := os.Open(file)
	must(t, err)
	_, err = io.Copy(w, in)
	must(t, err, in.Close(), w.Close())
	if err := out.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	return out.Name()
}
