package delta

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// Encode returns a delta's manifest and its descriptor. The same delta gives the same
// bytes.
func (d *Delta) Encode() (ocispec.Descriptor, []byte, error) {
	annotations, err := d.annotations()
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("encode delta: %w", err)
	}
	subject := bare(d.Image.Manifest)
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: bare(ocispec.DescriptorEmptyJSON), Subject: &subject, Annotations: annotations,
		Layers: append([]ocispec.Descriptor{
			annotated(d.Image.Manifest, map[string]string{annotationContent: contentManifest}),
			annotated(d.Image.ConfigDesc, map[string]string{annotationContent: contentConfig}),
		}, d.layers()...),
	}
	if d.Files.Digest != "" {
		m.Layers = append(m.Layers, annotated(d.Files, map[string]string{annotationContent: contentFiles}))
	}
	if len(m.Layers) > content.MaxLayers {
		return ocispec.Descriptor{}, nil, fmt.Errorf("encode delta: it has %d blobs, more than %d: %w", len(m.Layers), content.MaxLayers, errdefs.ErrInvalidArgument)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("encode delta: %w", err)
	}
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data)), ArtifactType: ArtifactType}, data, nil
}

// annotations are those of the manifest.
func (d *Delta) annotations() (map[string]string, error) {
	if len(d.Sources) == 0 || len(d.Sources) > MaxSources {
		return nil, fmt.Errorf("%d sources, of which there must be 1 to %d: %w", len(d.Sources), MaxSources, errdefs.ErrInvalidArgument)
	}
	sources, err := json.Marshal(d.Sources)
	if err != nil {
		return nil, err
	}
	all := map[string]string{
		annotationTarget: d.Image.Manifest.Digest.String(),
		annotationSource: d.Sources[0].Manifest.String(), annotationSourceConfig: d.Sources[0].Config.String(),
		annotationSources: string(sources),
	}
	var reused, diffIDs []digest.Digest
	for _, l := range d.Layers {
		if l.Kind == Reused {
			reused, diffIDs = append(reused, l.Target.Digest), append(diffIDs, l.DiffID)
		}
	}
	for name, list := range map[string][]digest.Digest{annotationReused: reused, annotationReusedDiffID: diffIDs} {
		if len(list) == 0 {
			continue
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		all[name] = string(text)
	}
	return all, nil
}

// layers are the entries of the layers that the delta has, each once.
func (d *Delta) layers() (list []ocispec.Descriptor) {
	seen := map[digest.Digest]bool{}
	for _, l := range d.Layers {
		if l.Kind == Reused || seen[l.Target.Digest] {
			continue
		}
		seen[l.Target.Digest] = true
		a := map[string]string{annotationContent: contentLayer, annotationTo: l.Target.Digest.String()}
		if l.Kind == Diff {
			if l.Generation != "" {
				a[annotationGeneration] = string(l.Generation)
			}
			if l.Size >= 0 {
				a[annotationSize] = strconv.FormatInt(l.Size, 10)
			}
		}
		list = append(list, annotated(l.Blob, a))
	}
	return list
}

// Blobs are the blobs that a delta's manifest names, each once, in its order. The first
// is the config, of which [ocispec.DescriptorEmptyJSON] has the bytes.
func (d *Delta) Blobs() []ocispec.Descriptor {
	all := append([]ocispec.Descriptor{ocispec.DescriptorEmptyJSON, d.Image.Manifest, d.Image.ConfigDesc}, d.layers()...)
	if d.Files.Digest != "" {
		all = append(all, d.Files)
	}
	seen := map[digest.Digest]bool{}
	var list []ocispec.Descriptor
	for _, b := range all {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			list = append(list, bare(b))
		}
	}
	return list
}

func bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

func annotated(d ocispec.Descriptor, a map[string]string) ocispec.Descriptor {
	d = bare(d)
	d.Annotations = a
	return d
}
