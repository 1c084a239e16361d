package storetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blob is a descriptor with its bytes.
type Blob struct {
	ocispec.Descriptor
	Bytes []byte
}

// NewBlob describes data.
func NewBlob(mediaType string, data []byte) Blob {
	return Blob{ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, data}
}

// JSON describes v encoded, or as it is if it is a string.
func JSON(mediaType string, v any) Blob {
	if s, ok := v.(string); ok {
		return NewBlob(mediaType, []byte(s))
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return NewBlob(mediaType, data)
}

// Image is an image of one platform.
type Image struct {
	Manifest, Config Blob
	Layers           []Blob
	DiffIDs          []digest.Digest
}

// Blobs are all of the image.
func (i Image) Blobs() []Blob { return append([]Blob{i.Manifest, i.Config}, i.Layers...) }

// Spec says what image to make.
type Spec struct {
	Docker bool
	Arch   string // amd64 if empty
	// Files has the name of the one file of each layer.
	Files []string
	// Config and Manifest, when set, replace the generated documents. In
	// them $DIFFIDS, $LAYERS and $CONFIG stand for what belongs there.
	Config, Manifest string
}

// NewImage makes an image of gzip layers. Nothing is stored.
func NewImage(s Spec) Image {
	var img Image
	layerType, configType, manifestType := ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageManifest
	if s.Docker {
		layerType, configType, manifestType = images.MediaTypeDockerSchema2LayerGzip, images.MediaTypeDockerSchema2Config, images.MediaTypeDockerSchema2Manifest
	}
	layers := []ocispec.Descriptor{}
	history := []ocispec.History{}
	for _, f := range s.Files {
		raw := Tar(map[string]string{f: "content of " + f})
		l := NewBlob(layerType, Gzip(raw))
		img.Layers = append(img.Layers, l)
		img.DiffIDs = append(img.DiffIDs, digest.FromBytes(raw))
		layers = append(layers, l.Descriptor)
		history = append(history, ocispec.History{CreatedBy: "add " + f})
	}
	arch := s.Arch
	if arch == "" {
		arch = "amd64"
	}
	if s.Config == "" {
		img.Config = JSON(configType, ocispec.Image{
			Platform: ocispec.Platform{OS: "linux", Architecture: arch},
			RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: img.DiffIDs},
			History:  history,
		})
	} else {
		img.Config = JSON(configType, strings.ReplaceAll(s.Config, "$DIFFIDS", encode(img.DiffIDs)))
	}
	if s.Manifest == "" {
		s.Manifest = `{"schemaVersion":2,"mediaType":"` + manifestType + `","config":$CONFIG,"layers":$LAYERS}`
	}
	img.Manifest = JSON(manifestType, strings.NewReplacer("$LAYERS", encode(layers), "$CONFIG", encode(img.Config.Descriptor)).Replace(s.Manifest))
	return img
}

// NewArtifact makes what no image is: an OCI artifact of one blob, with the
// empty config.
func NewArtifact(artifactType, text string) Image {
	blob, empty := NewBlob(artifactType, []byte(text)), NewBlob(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	return Image{
		Config: empty, Layers: []Blob{blob},
		Manifest: JSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
			Config: empty.Descriptor, Layers: []ocispec.Descriptor{blob.Descriptor},
		}),
	}
}

// NewIndex makes an image index of manifests.
func NewIndex(manifests ...ocispec.Descriptor) Blob {
	return JSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: manifests,
	})
}

// On returns the descriptor with a platform.
func (b Blob) On(os, arch, variant string) ocispec.Descriptor {
	d := b.Descriptor
	d.Platform = &ocispec.Platform{OS: os, Architecture: arch, Variant: variant}
	return d
}

// Put stores blobs without any labels.
func (s Store) Put(ctx context.Context, t *testing.T, blobs ...Blob) {
	t.Helper()
	for _, b := range blobs {
		if err := cstore.WriteBlob(ctx, s.ContentStore(), "put-"+b.Digest.String(), bytes.NewReader(b.Bytes), b.Descriptor); err != nil {
			t.Fatal(err)
		}
	}
}

// Name makes an image record.
func (s Store) Name(ctx context.Context, t *testing.T, name string, target ocispec.Descriptor) {
	t.Helper()
	if _, err := s.ImageService().Create(ctx, images.Image{Name: name, Target: target}); err != nil {
		t.Fatal(err)
	}
}

// Blobs lists the digests of all stored blobs, with their labels.
func (s Store) Blobs(ctx context.Context, t *testing.T) map[digest.Digest]map[string]string {
	t.Helper()
	all := map[digest.Digest]map[string]string{}
	err := s.ContentStore().Walk(ctx, func(i cstore.Info) error {
		all[i.Digest] = i.Labels
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Tar makes an archive of regular files, in order of their names.
func Tar(files map[string]string) []byte {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, name := range sorted(files) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			panic(err)
		}
		if _, err := tw.Write([]byte(files[name])); err != nil {
			panic(err)
		}
	}
	if err := tw.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// Gzip compresses.
func Gzip(data []byte) []byte {
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if _, err := zw.Write(data); err != nil {
		panic(err)
	}
	if err := zw.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func sorted(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }
