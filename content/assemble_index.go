package content

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/rawjson"
)

// AllPlatforms stands for every platform of an image.
const AllPlatforms = "all"

// SelectManifests returns those manifests of an index that fit the platforms
// best, as [Resolve] would choose each, or with [AllPlatforms] all of them: in
// the order of the index, each once, with its platform. They need not be stored.
// An error wraps [errdefs.ErrNotFound] where the index lists no such platform.
func SelectManifests(ctx context.Context, store cstore.Provider, target ocispec.Descriptor, platforms []string) ([]ocispec.Descriptor, error) {
	all, err := Manifests(ctx, store, target)
	if err != nil {
		return nil, err
	}
	chosen := map[string]bool{}
	for _, p := range platforms {
		if p == AllPlatforms {
			for _, d := range all {
				chosen[entryKey(d)] = true
			}
			continue
		}
		want, err := parsePlatform(p)
		if err != nil {
			return nil, err
		}
		d, err := selectManifest(ctx, store, target, want)
		if err != nil {
			return nil, err
		}
		chosen[entryKey(d)] = true
	}
	var list []ocispec.Descriptor
	for _, d := range all {
		if key := entryKey(d); chosen[key] {
			list = append(list, d)
			delete(chosen, key)
		}
	}
	return list, nil
}

// entryKey tells the entries of an index apart: one manifest may be listed for
// several platforms, and several for one.
func entryKey(d ocispec.Descriptor) string {
	return d.Digest.String() + " " + formatPlatform(d.Platform)
}

// IndexEntry is one image of a new index.
type IndexEntry struct {
	// Base is the entry of the base's index that it was made from, as
	// [SelectManifests] returns it; zero for an image from scratch.
	Base ocispec.Descriptor
	// Manifest is the new one. Platform is listed where the base's entry lists none.
	Manifest ocispec.Descriptor
	Platform ocispec.Platform
}

// IndexAssembly says what a new index is made of.
type IndexAssembly struct {
	// Base is the base's index; nil makes a plain one, of OCI's family, or with Docker
	// of Docker's.
	Base   *ocispec.Descriptor
	Docker bool
	// Annotations are set on the index.
	Annotations map[string]string
	// Entries are the new index's images, in order.
	Entries []IndexEntry
	// BaseName goes, with Base's digest, into the annotations that OCI has for
	// them; empty for scratch.
	BaseName string
}

// AssembleIndex makes an index, of the base's family, and returns it with its
// descriptor. Nothing is stored. What Veneer does not know of the base's index
// and of its entries survives, but for what is not true any more: subject and
// artifactType, embedded data, URLs, and annotations that name the base's own
// base or an image. What the base lists beside the given entries is left out,
// attestations as well: they speak of images that the new index does not have.
// Same input, same bytes.
func AssembleIndex(ctx context.Context, store cstore.Provider, a IndexAssembly) (ocispec.Descriptor, []byte, error) {
	idx, mediaType := rawjson.New(), ocispec.MediaTypeImageIndex
	if a.Docker {
		mediaType = images.MediaTypeDockerSchema2ManifestList
	}
	var listed []rawEntry
	if a.Base != nil {
		mediaType = a.Base.MediaType
		data, err := readJSON(ctx, store, *a.Base)
		if err != nil {
			return ocispec.Descriptor{}, nil, fmt.Errorf("read index: %w", err)
		}
		if idx, err = rawjson.ParseKnown(data, manifestFields); err != nil {
			return ocispec.Descriptor{}, nil, fmt.Errorf("index %s: %w", a.Base.Digest, err)
		}
		if listed, err = rawEntries(ctx, store, *a.Base); err != nil {
			return ocispec.Descriptor{}, nil, err
		}
	}
	entries := []json.RawMessage{}
	for _, e := range a.Entries {
		raw, err := assembleEntry(entryOf(listed, e.Base), e)
		if err != nil {
			return ocispec.Descriptor{}, nil, fmt.Errorf("assemble index: entry of %s: %w", FormatPlatform(e.Platform), err)
		}
		entries = append(entries, raw)
	}
	idx.Remove("subject")
	idx.Remove("artifactType")
	err := errors.Join(
		idx.Set("schemaVersion", 2),
		idx.Set("mediaType", mediaType),
		idx.Set("manifests", entries),
		indexAnnotations(idx, a),
	)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("assemble index: %w", err)
	}
	data, err := rawjson.Encode(idx)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("assemble index: %w", err)
	}
	desc := describe(mediaType, data)
	if len(data) > maxJSON {
		return ocispec.Descriptor{}, nil, fmt.Errorf("assembled index: larger than %d bytes: %w", maxJSON, errdefs.ErrInvalidArgument)
	}
	return desc, data, checkDocument(data, desc)
}

// rawEntry is an index's entry as it is written, and what that says.
type rawEntry struct {
	raw  json.RawMessage
	desc ocispec.Descriptor
}

// entryOf returns the entry of a manifest that is listed for the platform; the
// first of that manifest where none is, as the entry may leave the platform out;
// nil where there is none at all.
func entryOf(listed []rawEntry, base ocispec.Descriptor) json.RawMessage {
	var first json.RawMessage
	for _, e := range listed {
		switch {
		case e.desc.Digest != base.Digest:
		case entryKey(e.desc) == entryKey(base):
			return e.raw
		case first == nil:
			first = e.raw
		}
	}
	return first
}

// rawEntries returns the entries of an index and of the indexes in it, in order.
func rawEntries(ctx context.Context, store cstore.Provider, target ocispec.Descriptor) ([]rawEntry, error) {
	docs, err := Documents(ctx, store, target)
	if err != nil {
		return nil, err
	}
	var listed []rawEntry
	for _, doc := range docs {
		if !doc.IsIndex() || doc.Err != nil {
			continue
		}
		data, err := readJSON(ctx, store, doc.Desc)
		if err != nil {
			return nil, fmt.Errorf("read index: %w", err)
		}
		var body struct {
			Manifests []json.RawMessage `json:"manifests"`
		}
		if err := json.Unmarshal(data, &body); err != nil {
			return nil, fmt.Errorf("parse index %s: %w", doc.Desc.Digest, err)
		}
		for _, raw := range body.Manifests {
			e := rawEntry{raw: raw}
			if err := json.Unmarshal(raw, &e.desc); err != nil {
				return nil, fmt.Errorf("parse entry of index %s: %w", doc.Desc.Digest, err)
			}
			listed = append(listed, e)
		}
	}
	return listed, nil
}

// assembleEntry edits the base's entry to be the new manifest's.
func assembleEntry(base json.RawMessage, e IndexEntry) (json.RawMessage, error) {
	if base == nil {
		return rawjson.Encode(ocispec.Descriptor{MediaType: e.Manifest.MediaType, Digest: e.Manifest.Digest, Size: e.Manifest.Size, Platform: &e.Platform})
	}
	if e.Base.Digest == e.Manifest.Digest {
		return base, nil
	}
	entry, err := rawjson.Parse(base)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"data", "urls", "artifactType"} {
		entry.Remove(name)
	}
	if !entry.Has("platform") {
		if err := entry.Set("platform", e.Platform); err != nil {
			return nil, err
		}
	}
	var annotations map[string]string
	if err := entry.Get("annotations", &annotations); err != nil {
		return nil, err
	}
	if dropStale(annotations) {
		if err := setOrRemove(entry, annotations); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(
		entry.Set("mediaType", e.Manifest.MediaType),
		entry.Set("digest", e.Manifest.Digest),
		entry.Set("size", e.Manifest.Size),
	); err != nil {
		return nil, err
	}
	return rawjson.Encode(entry)
}

// dropStale removes annotations that were true of the base alone, and reports
// whether there were any.
func dropStale(annotations map[string]string) bool {
	n := len(annotations)
	for _, k := range []string{
		ocispec.AnnotationBaseImageName, ocispec.AnnotationBaseImageDigest, // of the base's base
		ocispec.AnnotationRefName, images.AnnotationImageName, // the base's own names
	} {
		delete(annotations, k)
	}
	return len(annotations) != n
}

func setOrRemove(o *rawjson.Object, annotations map[string]string) error {
	if len(annotations) == 0 {
		o.Remove("annotations")
		return nil
	}
	return o.Set("annotations", annotations)
}

// indexAnnotations names the base, where the family has annotations.
func indexAnnotations(idx *rawjson.Object, a IndexAssembly) error {
	var annotations map[string]string
	if err := idx.Get("annotations", &annotations); err != nil {
		return err
	}
	stale := dropStale(annotations)
	if len(a.Annotations) > 0 {
		if a.Docker || a.Base != nil && images.IsDockerType(a.Base.MediaType) {
			return errors.New("annotate index: it is of Docker's format, which has no annotations")
		}
		if annotations == nil {
			annotations = map[string]string{}
		}
		maps.Copy(annotations, a.Annotations)
		stale = true
	}
	if a.Base != nil && a.BaseName != "" && !images.IsDockerType(a.Base.MediaType) {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[ocispec.AnnotationBaseImageName] = a.BaseName
		annotations[ocispec.AnnotationBaseImageDigest] = a.Base.Digest.String()
	} else if !stale {
		return nil
	}
	return setOrRemove(idx, annotations)
}

// StoreIndex writes an index whose manifests are stored, with the labels that
// keep these. ctx must carry a lease until a record refers to it.
func StoreIndex(ctx context.Context, store cstore.Store, desc ocispec.Descriptor, data []byte) error {
	idx, err := ParseIndex(data, desc)
	if err != nil {
		return fmt.Errorf("store index: %w", err)
	}
	labels := map[string]string{}
	for i, m := range idx.Manifests {
		labels[fmt.Sprintf("%s.m.%d", gcContent, i)] = m.Digest.String()
	}
	if err := WriteBlob(ctx, store, desc, labels, data); err != nil {
		return fmt.Errorf("store index: %w", err)
	}
	return nil
}
