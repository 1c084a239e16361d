package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/internal/storetest"
)

// item is an image with a name, as Export takes it.
func item(target ocispec.Descriptor, names ...string) archive.Item {
	var full []string
	for _, n := range names {
		name, err := content.Normalize(n)
		if err != nil {
			panic(err)
		}
		full = append(full, name)
	}
	return archive.Item{Names: full, Target: target}
}

// export returns an archive of items.
func export(ctx context.Context, t *testing.T, s storetest.Store, since []*archive.Base, items ...archive.Item) []byte {
	t.Helper()
	var buf bytes.Buffer
	got, err := archive.Export(ctx, s.ContentStore(), &buf, items, archive.ExportOptions{Since: since})
	if err != nil {
		t.Fatal(err)
	}
	var blobs int
	for _, f := range untar(t, buf.Bytes()) {
		if strings.HasPrefix(f.name, "blobs/sha256/") {
			blobs++
		}
	}
	if got.Blobs != blobs {
		t.Errorf("%d blobs told of, %d in the archive", got.Blobs, blobs)
	}
	return buf.Bytes()
}

type entry struct {
	name string
	data []byte
}

// untar lists the regular files of an archive in their order.
func untar(t *testing.T, data []byte) []entry {
	t.Helper()
	var list []entry
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			body, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, entry{h.Name, body})
		}
	}
}

func TestExportRoundTrip(t *testing.T) {
	one := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	two := storetest.NewImage(storetest.Spec{Docker: true, Files: []string{"a", "c"}})
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, append(one.Blobs(), two.Blobs()...)...)
	items := []archive.Item{item(one.Manifest.Descriptor, "app:1", "reg.example.com/app:1"), item(two.Manifest.Descriptor, "app:2"), item(one.Manifest.Descriptor, "again")}
	data := export(ctx, t, s, nil, items...)

	// The same bytes from a store that knows more of the same blobs.
	ctx2, s2 := storetest.Open(t)
	got, err := archive.Import(ctx2, s2.Client, bytes.NewReader(data), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	names := namesOf(got)
	slices.Sort(names)
	if want := []string{"docker.io/library/again:latest", "docker.io/library/app:1", "docker.io/library/app:2", "reg.example.com/app:1"}; !slices.Equal(names, want) {
		t.Errorf("names %v, want %v", names, want)
	}
	label := map[string]string{"containerd.io/distribution.source.docker.io": "library/app"}
	if err := content.SetLabels(ctx2, s2.ContentStore(), one.Manifest.Digest, label); err != nil {
		t.Fatal(err)
	}
	if again := export(ctx2, t, s2, nil, items...); !bytes.Equal(again, data) {
		t.Error("another store, another archive")
	}
	checkSums(t, data)
}

// checkSums does what sha256sum -c does, and wants each file to be listed.
func checkSums(t *testing.T, data []byte) {
	t.Helper()
	files := map[string][]byte{}
	for _, f := range untar(t, data) {
		if _, twice := files[f.name]; twice {
			t.Errorf("%s is there twice", f.name)
		}
		files[f.name] = f.data
	}
	for line := range strings.Lines(string(files["SHA256SUMS"])) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		have := sha256.Sum256(files[name])
		if sum != hex.EncodeToString(have[:]) {
			t.Errorf("%s: the sum is not %s", name, sum)
		}
		delete(files, name)
	}
	delete(files, "SHA256SUMS")
	for name := range files {
		t.Errorf("%s has no sum", name)
	}
}

func TestExportDocuments(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, img.Blobs()...)
	files := untar(t, export(ctx, t, s, nil, item(img.Manifest.Descriptor, "app:1", "app@"+img.Manifest.Digest.String())))
	var order []string
	for _, f := range files {
		order = append(order, f.name)
	}
	at := func(b storetest.Blob) string { return "blobs/sha256/" + b.Digest.Encoded() }
	want := []string{"oci-layout", "SHA256SUMS", "index.json", "manifest.json", at(img.Manifest), at(img.Config), at(img.Layers[0]), at(img.Layers[1])}
	if !slices.Equal(order, want) {
		t.Errorf("files %v, want %v", order, want)
	}
	var idx ocispec.Index
	if err := json.Unmarshal(files[2].data, &idx); err != nil || len(idx.Manifests) != 2 || len(idx.Annotations) != 0 {
		t.Fatalf("index %s, %v", files[2].data, err)
	}
	if a := idx.Manifests[0].Annotations; a[images.AnnotationImageName] != "docker.io/library/app:1" || a[ocispec.AnnotationRefName] != "1" {
		t.Errorf("annotations %v", a)
	}
	if got, want := string(files[3].data), `[{"Config":"`+at(img.Config)+`","RepoTags":["app:1"],"Layers":["`+at(img.Layers[0])+`","`+at(img.Layers[1])+`"]}]`; got != want {
		t.Errorf("manifest.json %s, want %s", got, want)
	}
}

// Of an index, what is stored as a whole is exported, with the host's platform for docker.
func TestExportIndex(t *testing.T) {
	amd := storetest.NewImage(storetest.Spec{Files: []string{"amd"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"arm"}, Arch: "arm64"})
	part := storetest.NewImage(storetest.Spec{Files: []string{"s390"}, Arch: "s390x"})
	att := storetest.JSON(ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"`+amd.Config.Digest.String()+`","size":`+strconv.FormatInt(amd.Config.Size, 10)+`},"layers":[]}`)
	inner := storetest.NewIndex(arm.Manifest.On("linux", "arm64", ""), part.Manifest.On("linux", "s390x", ""))
	idx := storetest.NewIndex(inner.Descriptor, amd.Manifest.On("linux", "amd64", ""), att.On("unknown", "unknown", ""))
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, slices.Concat(amd.Blobs(), arm.Blobs(), []storetest.Blob{idx, inner, att, part.Manifest, part.Config})...)
	data := export(ctx, t, s, nil, item(idx.Descriptor, "app:1"))
	have := map[string]bool{}
	for _, f := range untar(t, data) {
		have[strings.TrimPrefix(f.name, "blobs/sha256/")] = true
		if f.name == "manifest.json" && !strings.Contains(string(f.data), amd.Config.Digest.Encoded()) {
			t.Errorf("docker's platform is not the host's: %s", f.data)
		}
	}
	for b, want := range map[*storetest.Blob]bool{
		&idx: true, &inner: true, &att: true, &amd.Layers[0]: true, &arm.Layers[0]: true, &part.Manifest: false, &part.Config: false,
	} {
		if have[b.Digest.Encoded()] != want {
			t.Errorf("%s is there: %v, want %v", b.Digest, !want, want)
		}
	}
	ctx2, s2 := storetest.Open(t)
	if _, err := archive.Import(ctx2, s2.Client, bytes.NewReader(data), archive.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		if img, err := content.Resolve(ctx2, s2.Client, "app:1", platform); err != nil || len(img.Missing) > 0 {
			t.Errorf("%s: %v", platform, err)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, img.Manifest, img.Config, img.Layers[0])
	_, err := archive.Export(ctx, s.ContentStore(), io.Discard, []archive.Item{item(img.Manifest.Descriptor, "app:1")}, archive.ExportOptions{})
	if !errdefs.IsNotFound(err) || !errors.Is(err, archive.ErrIncomplete) || !strings.Contains(err.Error(), img.Layers[1].Digest.String()) {
		t.Errorf("missing layer: %v", err)
	}
	if _, err := archive.Export(ctx, s.ContentStore(), io.Discard, nil, archive.ExportOptions{}); err == nil {
		t.Error("an archive of nothing")
	}
	s.Put(ctx, t, img.Layers[1])
	damage(t, s.BlobPath(img.Layers[1].Digest))
	_, err = archive.Export(ctx, s.ContentStore(), io.Discard, []archive.Item{item(img.Manifest.Descriptor)}, archive.ExportOptions{})
	if !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("damaged layer: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := archive.ExportLayout(ctx, s.ContentStore(), dir, []archive.Item{item(img.Manifest.Descriptor)}, archive.ExportOptions{}); !errors.Is(err, content.ErrCorrupt) {
		t.Errorf("damaged layer: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// damage changes a byte of a stored blob.
func damage(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExportLayout(t *testing.T) {
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	ctx, s := storetest.Open(t)
	s.Put(ctx, t, img.Blobs()...)
	items := []archive.Item{item(img.Manifest.Descriptor, "app:1")}
	dir := t.TempDir() // an empty directory is replaced
	if _, err := archive.ExportLayout(ctx, s.ContentStore(), dir, items, archive.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.ExportLayout(ctx, s.ContentStore(), dir, items, archive.ExportOptions{}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("over a layout: %v", err)
	}
	for _, f := range untar(t, export(ctx, t, s, nil, items...)) {
		if data, err := os.ReadFile(filepath.Join(dir, f.name)); err != nil || !bytes.Equal(data, f.data) {
			t.Errorf("%s: %v", f.name, err)
		}
	}
	r, err := archive.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx2, s2 := storetest.Open(t)
	got, err := archive.Import(ctx2, s2.Client, r, archive.Options{})
	if err != nil || len(got) != 1 || got[0].Target.Digest != img.Manifest.Digest {
		t.Errorf("read back: %v, %v", got, err)
	}
}
