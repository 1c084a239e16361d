package delta

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/rawjson"
	"github.com/veneer-build/veneer/content/tardiff"
	"github.com/veneer-build/veneer/internal/recompress"
)

// Recognize reports whether a stored manifest is that of a delta. Of one that this
// version cannot read the error wraps [ErrVersion].
func Recognize(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor) (bool, error) {
	if !images.IsManifestType(desc.MediaType) {
		return false, nil
	}
	m, err := content.ReadArtifact(ctx, store, desc)
	if err != nil {
		return false, err
	}
	if m.ArtifactType == ArtifactType {
		return true, nil
	}
	if strings.HasPrefix(m.ArtifactType, artifactPrefix) {
		return false, fmt.Errorf("%s is of type %q: %w", desc.Digest, m.ArtifactType, ErrVersion)
	}
	return false, nil
}

// Read reads a delta: its manifest, and the manifest and the config of the image. They
// must be stored. The blobs of layers need not be. An error wraps [ErrFormat] if the
// delta is damaged or hostile, or [ErrVersion].
func Read(ctx context.Context, store cstore.Store, desc ocispec.Descriptor) (*Delta, error) {
	is, err := Recognize(ctx, store, desc)
	if err != nil {
		return nil, fmt.Errorf("read delta: %w", err)
	}
	if !is {
		return nil, fmt.Errorf("read delta: %s is of another type: %w", desc.Digest, ErrFormat)
	}
	m, err := content.ReadArtifact(ctx, store, desc)
	if err != nil {
		return nil, fmt.Errorf("read delta: %w", err)
	}
	entries, err := sort(m)
	if err != nil {
		return nil, fmt.Errorf("read delta %s: %w", desc.Digest, err)
	}
	img, err := content.ResolveTarget(ctx, store, bare(entries.manifest), "")
	if err != nil {
		return nil, fmt.Errorf("read delta %s: its image: %w", desc.Digest, err)
	}
	d, err := entries.delta(m, img)
	if err != nil {
		return nil, fmt.Errorf("read delta %s: %w", desc.Digest, err)
	}
	return d, nil
}

// entries are what is in a delta's manifest, by kind.
type entries struct {
	manifest, config, files ocispec.Descriptor
	layers                  map[digest.Digest]ocispec.Descriptor // by the layer that they make
}

// sort finds the entries of a manifest. Those of unknown kinds are ignored, as the
// format demands.
func sort(m *ocispec.Manifest) (*entries, error) {
	e := &entries{layers: map[digest.Digest]ocispec.Descriptor{}}
	one := func(to *ocispec.Descriptor, d ocispec.Descriptor) error {
		if to.Digest != "" {
			return fmt.Errorf("two blobs are its %q: %w", d.Annotations[annotationContent], ErrFormat)
		}
		*to = d
		return nil
	}
	for _, d := range m.Layers {
		var err error
		switch d.Annotations[annotationContent] {
		case contentManifest:
			err = one(&e.manifest, d)
		case contentConfig:
			err = one(&e.config, d)
		case contentFiles:
			err = one(&e.files, d)
		case contentLayer:
			err = e.layer(d)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case e.manifest.Digest == "" || e.config.Digest == "":
		return nil, fmt.Errorf("it lacks the image's manifest or config: %w", ErrFormat)
	case e.files.Size > maxFilesBlob:
		return nil, fmt.Errorf("its list of source files has %d bytes, more than %d: %w", e.files.Size, maxFilesBlob, ErrFormat)
	}
	return e, nil
}

func (e *entries) layer(d ocispec.Descriptor) error {
	to := digest.Digest(d.Annotations[annotationTo])
	if err := to.Validate(); err != nil {
		return fmt.Errorf("it makes a layer with the digest %q: %w: %w", to, err, ErrFormat)
	}
	if was, there := e.layers[to]; there {
		if d.Digest == was.Digest && d.Size == was.Size && d.MediaType == was.MediaType && maps.Equal(d.Annotations, was.Annotations) {
			return nil // The image has it twice.
		}
		return fmt.Errorf("it makes layer %s twice: %w", to, ErrFormat)
	}
	e.layers[to] = d
	return nil
}

// delta makes a delta of what the manifest says and of the image.
func (e *entries) delta(m *ocispec.Manifest, img *content.Image) (*Delta, error) {
	target := img.Manifest.Digest
	switch {
	case e.config.Digest != img.ConfigDesc.Digest:
		return nil, fmt.Errorf("its config is not the image's: %w", ErrFormat)
	case m.Annotations[annotationTarget] != "" && m.Annotations[annotationTarget] != target.String():
		return nil, fmt.Errorf("it names another image as its target: %w", ErrFormat)
	case m.Subject != nil && m.Subject.Digest != target:
		return nil, fmt.Errorf("it names another image as its subject: %w", ErrFormat)
	}
	d := &Delta{Image: img, Files: bare(e.files)}
	var err error
	if d.Sources, err = sources(m.Annotations); err != nil {
		return nil, err
	}
	if err := checkReused(m.Annotations); err != nil {
		return nil, err
	}
	made := map[digest.Digest]bool{}
	for i, l := range img.Layers {
		layer := Layer{Target: l, DiffID: img.DiffIDs[i], Size: -1}
		if entry, there := e.layers[l.Digest]; there {
			made[l.Digest] = true
			if err := layer.set(entry); err != nil {
				return nil, fmt.Errorf("layer %s: %w", l.Digest, err)
			}
		}
		d.Layers = append(d.Layers, layer)
	}
	for to := range e.layers {
		if !made[to] {
			return nil, fmt.Errorf("it makes layer %s, which the image has not: %w", to, ErrFormat)
		}
	}
	return d, nil
}

// set takes over what an entry says about a layer that the delta has.
func (l *Layer) set(entry ocispec.Descriptor) error {
	l.Blob = bare(entry)
	if entry.MediaType != tardiff.MediaType {
		l.Kind = Whole
		switch {
		case !images.IsLayerType(entry.MediaType):
			return fmt.Errorf("it is in the delta as %q, which is no layer: %w", entry.MediaType, ErrFormat)
		case entry.Digest == l.Target.Digest && entry.Size != l.Target.Size:
			return fmt.Errorf("it has %d bytes in the delta and %d in the image: %w", entry.Size, l.Target.Size, ErrFormat)
		}
		return nil
	}
	l.Kind = Diff
	l.Generation = recompress.Generation(entry.Annotations[annotationGeneration])
	if len(l.Generation) > maxGeneration {
		return fmt.Errorf("the way to compress it has a name of %d bytes: %w", len(l.Generation), ErrFormat)
	}
	if text, there := entry.Annotations[annotationSize]; there {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
			return fmt.Errorf("its tar has %q bytes: %w", text, ErrFormat)
		}
		l.Size = n
	}
	return nil
}

// sources are the images that a delta takes.
func sources(a map[string]string) ([]Source, error) {
	first := Source{Manifest: digest.Digest(a[annotationSource]), Config: digest.Digest(a[annotationSourceConfig])}
	text, there := a[annotationSources]
	if !there {
		return []Source{first}, first.check(false)
	}
	var list []Source
	if err := decode(text, &list); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", annotationSources, err)
	}
	if len(list) == 0 || len(list) > MaxSources {
		return nil, fmt.Errorf("it has %d sources, of which there must be 1 to %d: %w", len(list), MaxSources, ErrFormat)
	}
	for _, s := range list {
		if err := s.check(true); err != nil {
			return nil, err
		}
	}
	if list[0].Manifest != first.Manifest || list[0].Config != first.Config {
		return nil, fmt.Errorf("it names two images as its first source: %w", ErrFormat)
	}
	return list, nil
}

// check checks what a stranger says. Others name the config of a source at least.
func (s Source) check(ours bool) error {
	all := []digest.Digest{s.Config}
	if ours || s.Manifest != "" {
		all = append(all, s.Manifest)
	}
	if s.Chain != "" {
		all = append(all, s.Chain)
	}
	for _, d := range all {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("it names a source by the digest %q: %w: %w", d, err, ErrFormat)
		}
	}
	if s.Name == "" {
		return nil
	}
	if len(s.Name) > maxSourceName {
		return fmt.Errorf("it names a source by %d bytes: %w", len(s.Name), ErrFormat)
	}
	if full, err := content.Normalize(s.Name); err != nil || full != s.Name {
		return fmt.Errorf("it names a source %q: %w", s.Name, ErrFormat)
	}
	return nil
}

// checkReused checks the lists of layers that the sources have. What they say follows
// from the rest: it is what the image has and the delta does not make.
func checkReused(a map[string]string) error {
	var lists [2][]digest.Digest
	for i, name := range []string{annotationReused, annotationReusedDiffID} {
		text, there := a[name]
		if !there {
			continue
		}
		if err := decode(text, &lists[i]); err != nil {
			return fmt.Errorf("annotation %s: %w", name, err)
		}
		if slices.ContainsFunc(lists[i], func(d digest.Digest) bool { return d.Validate() != nil }) {
			return fmt.Errorf("annotation %s has what is no digest: %w", name, ErrFormat)
		}
	}
	_, there := a[annotationReusedDiffID] // older versions of oci-delta wrote no such list
	if there && len(lists[0]) != len(lists[1]) || len(lists[0]) > content.MaxLayers {
		return fmt.Errorf("it reuses %d layers and %d diff IDs: %w", len(lists[0]), len(lists[1]), ErrFormat)
	}
	return nil
}

// decode decodes JSON in an annotation.
func decode(text string, to any) error {
	if err := rawjson.Check([]byte(text)); err != nil {
		return fmt.Errorf("%w: %w", err, ErrFormat)
	}
	if err := json.Unmarshal([]byte(text), to); err != nil {
		return fmt.Errorf("%w: %w", err, ErrFormat)
	}
	return nil
}
