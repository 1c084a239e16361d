package delta_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/delta"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/internal/recompress"
)

// layer is one of an image that a test makes.
type layer struct {
	files map[string]string
	// by compresses it; empty: Go's gzip at level 9 does, as nobody else with this name in its header.
	by        recompress.Generation
	mediaType string
}

// image is an image of layers, and where it is stored.
func image(ctx context.Context, t testing.TB, s storetest.Store, name string, layers ...layer) *content.Image {
	t.Helper()
	var m ocispec.Manifest
	var diffIDs []digest.Digest
	var blobs []storetest.Blob
	for _, l := range layers {
		tar := storetest.Tar(l.files)
		var packed bytes.Buffer
		var w io.WriteCloser
		var err error
		if l.by == "" {
			z := gzip.NewWriter(&packed)
			z.Name, w = "odd", z
		} else {
			w, err = l.by.NewWriter(&packed)
		}
		check(t, err)
		_, err = w.Write(tar)
		check(t, err, w.Close())
		if l.mediaType == "" {
			l.mediaType = ocispec.MediaTypeImageLayerGzip
		}
		b := storetest.NewBlob(l.mediaType, packed.Bytes())
		blobs, diffIDs, m.Layers = append(blobs, b), append(diffIDs, digest.FromBytes(tar)), append(m.Layers, b.Descriptor)
	}
	config := storetest.JSON(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffIDs}, Author: name,
	})
	m.Versioned, m.MediaType, m.Config = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest, config.Descriptor
	manifest := storetest.JSON(ocispec.MediaTypeImageManifest, m)
	seen := map[digest.Digest]bool{}
	for _, b := range append(blobs, config, manifest) {
		if _, err := s.ContentStore().Info(ctx, b.Digest); err != nil && !seen[b.Digest] {
			put(ctx, t, s, b)
		}
		seen[b.Digest] = true
	}
	img, err := content.ResolveTarget(ctx, s.ContentStore(), manifest.Descriptor, "")
	check(t, err)
	img.Name = name
	return img
}

func put(ctx context.Context, t testing.TB, s storetest.Store, b storetest.Blob) {
	t.Helper()
	check(t, content.WriteBlob(ctx, s.ContentStore(), b.Descriptor, nil, b.Bytes))
}

func check(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// tree has the files of several sources.
type tree []map[string]string

type memFile struct{ *bytes.Reader }

func (memFile) Close() error { return nil }

// Find implements [delta.Tree].
func (m tree) Find(path string) (tardiff.File, int, error) {
	for i, files := range m {
		if text, ok := files[path]; ok {
			return memFile{bytes.NewReader([]byte(text))}, i, nil
		}
	}
	return nil, 0, fs.ErrNotExist
}

// Open implements [tardiff.Opener].
func (m tree) Open(path string) (tardiff.File, error) {
	f, _, err := m.Find(path)
	return f, err
}

// Files implements [tardiff.Tree].
func (m tree) Files(f func(string, int64) error) error {
	all := map[string]string{}
	for _, files := range slices.Backward(m) {
		maps.Copy(all, files)
	}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if err := f(path, int64(len(all[path]))); err != nil {
			return err
		}
	}
	return nil
}

// spool is a file in memory.
type spool struct{ b []byte }

// WriteAt implements [io.WriterAt].
func (s *spool) WriteAt(p []byte, off int64) (int, error) {
	if n := int(off) + len(p); n > len(s.b) {
		s.b = append(s.b, make([]byte, n-len(s.b))...)
	}
	return copy(s.b[off:], p), nil
}

// ReadAt implements [io.ReaderAt].
func (s *spool) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(s.b).ReadAt(p, off) }

// making is of an image from sources with files.
func making(img *content.Image, from tree, sources ...*content.Image) delta.Making {
	return delta.Making{
		Image: img, Sources: sources, Spool: &spool{}, Steps: progress.New(nil), Open: func() (delta.Tree, error) { return from, nil },
	}
}

// text is some text that does not repeat.
func text(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 17))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + r.IntN(90))
	}
	return string(b)
}

// stored stores a delta's manifest and returns its descriptor.
func stored(ctx context.Context, t testing.TB, s storetest.Store, manifest string) ocispec.Descriptor {
	t.Helper()
	b := storetest.NewBlob(ocispec.MediaTypeImageManifest, []byte(manifest))
	put(ctx, t, s, b)
	return b.Descriptor
}

// indented is JSON for people.
func indented(t testing.TB, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	check(t, json.Indent(&b, data, "", "  "))
	return b.String() + "\n"
}

// sample is a delta of all kinds of layers, with plain digests. Its documents are stored.
func sample(ctx context.Context, t testing.TB, s storetest.Store) *delta.Delta {
	t.Helper()
	digestOf := func(text string) digest.Digest { return digest.FromString(text) }
	var layers []ocispec.Descriptor
	var diffIDs []digest.Digest
	for _, name := range []string{"reused", "diff", "whole", "diff"} {
		layers = append(layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digestOf(name), Size: 1000})
		diffIDs = append(diffIDs, digestOf(name+" tar"))
	}
	config := storetest.JSON(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
	})
	manifest := storetest.JSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config.Descriptor, Layers: layers,
	})
	put(ctx, t, s, config)
	put(ctx, t, s, manifest)
	img, err := content.ResolveTarget(ctx, s.ContentStore(), manifest.Descriptor, "")
	check(t, err)
	d := &delta.Delta{Image: img, Files: ocispec.Descriptor{MediaType: "application/vnd.build.veneer.delta.sources.v1+zstd", Digest: digestOf("files"), Size: 99}}
	for i, l := range layers {
		layer := delta.Layer{Target: l, DiffID: diffIDs[i], Size: -1}
		switch l.Digest {
		case digestOf("diff"):
			layer.Kind, layer.Generation, layer.Size = delta.Diff, "veneer-gzip.1:0", 20480
			layer.Blob = ocispec.Descriptor{MediaType: tardiff.MediaType, Digest: digestOf("tardiff"), Size: 77}
		case digestOf("whole"):
			layer.Kind, layer.Blob = delta.Whole, l
		}
		d.Layers = append(d.Layers, layer)
	}
	for _, name := range []string{"docker.io/library/app:1", ""} {
		d.Sources = append(d.Sources, delta.Source{
			Name: name, Manifest: digestOf("manifest of " + name), Config: digestOf("config of " + name), Chain: identity.ChainID(diffIDs[:1]),
		})
	}
	return d
}
