package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/rawjson"
	"github.com/veneer-build/veneer/internal/compression"
)

// dockerIndex makes an index of an archive of docker save, from its manifest.json,
// which names configs and layers by their files (moby image/spec/v1.2.md). It makes
// and stores the manifests that such an archive lacks. The same archive always
// gives the same manifests.
func (r *reader) dockerIndex(ctx context.Context) (*ocispec.Index, error) {
	text := r.documents[dockerFile]
	if err := rawjson.Check(text); err != nil {
		return nil, fmt.Errorf("%q: %w", dockerFile, err)
	}
	var list []dockerImage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%q: %w: %w", dockerFile, err, errdefs.ErrInvalidArgument)
	}
	idx := &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	types := layerTypes{reader: r, known: map[digest.Digest]string{}}
	for _, entry := range list {
		if len(idx.Manifests) > maxManifests {
			break // readIndex refuses it
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		desc, err := types.image(ctx, entry)
		if err != nil {
			return nil, err
		}
		if len(entry.RepoTags) == 0 {
			idx.Manifests = append(idx.Manifests, desc)
		}
		for _, tag := range entry.RepoTags {
			d := desc
			d.Annotations = map[string]string{images.AnnotationImageName: tag}
			idx.Manifests = append(idx.Manifests, d)
		}
	}
	return idx, nil
}

// layerTypes are the media types of an archive's layers. Each is determined once,
// even if several images have the layer.
type layerTypes struct {
	*reader
	known map[digest.Digest]string
}

// image stores the manifest of one image.
func (r layerTypes) image(ctx context.Context, entry dockerImage) (ocispec.Descriptor, error) {
	if n := len(entry.Layers); n > content.MaxLayers {
		return ocispec.Descriptor{}, fmt.Errorf("%q names %d layers of one image, more than %d: %w", dockerFile, n, content.MaxLayers, errdefs.ErrInvalidArgument)
	}
	config, err := r.named(entry.Config)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	config.MediaType = images.MediaTypeDockerSchema2Config
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: images.MediaTypeDockerSchema2Manifest,
		Config: config, Layers: []ocispec.Descriptor{},
	}
	for _, file := range entry.Layers {
		l, err := r.named(file)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		if l.MediaType, err = r.of(ctx, l); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("%q: %w", file, err)
		}
		manifest.Layers = append(manifest.Layers, l)
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("encode manifest: %w", err)
	}
	desc := ocispec.Descriptor{MediaType: manifest.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := content.WriteBlob(ctx, r.blobs, desc, nil, data); err != nil {
		return ocispec.Descriptor{}, err
	}
	img, err := content.ResolveTarget(ctx, r.blobs, desc, "")
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%q: %w", entry.Config, err)
	}
	p := img.Platform // a copy, so that img's documents are not kept in memory
	desc.Platform = &p
	return desc, nil
}

func (r layerTypes) of(ctx context.Context, desc ocispec.Descriptor) (string, error) {
	if t, ok := r.known[desc.Digest]; ok {
		return t, nil
	}
	t, err := r.layerType(ctx, desc)
	if err == nil {
		r.known[desc.Digest] = t
	}
	return t, err
}

// named returns the file that manifest.json names. It follows links.
func (r *reader) named(file string) (ocispec.Descriptor, error) {
	f, ok := r.follow(path.Clean(file))
	if !ok || f.Digest == "" {
		return ocispec.Descriptor{}, fmt.Errorf("%q names the file %q, which the archive does not have: %w", dockerFile, file, errdefs.ErrInvalidArgument)
	}
	return f, nil
}

// layerType returns a layer's media type, by its first bytes.
func (r *reader) layerType(ctx context.Context, desc ocispec.Descriptor) (_ string, err error) {
	ra, err := r.blobs.ReaderAt(ctx, desc)
	if err != nil {
		return "", fmt.Errorf("read layer: %w", err)
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	head := make([]byte, compression.HeadSize)
	n, err := io.ReadFull(cstore.NewReader(ra), head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", fmt.Errorf("read layer: %w", err)
	}
	switch name, _ := compression.Detect(head[:n]); name {
	case "zstd":
		return images.MediaTypeDockerSchema2LayerZstd, nil
	case "gzip":
		return images.MediaTypeDockerSchema2LayerGzip, nil
	}
	return images.MediaTypeDockerSchema2Layer, nil
}
