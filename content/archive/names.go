package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/words"
)

// named is one image of the archive, with the names that it will get.
type named struct {
	names  []string
	target ocispec.Descriptor
	// unusable is the reason why the archive's first unusable name for the image is
	// no valid image name. It is not an error unless a name is needed: formats
	// allow other texts there.
	unusable error
}

// maxManifests is the greatest number of images in an archive, the same as in an
// index.
const maxManifests = 1000

// storedIndex is the archive's index. It is only stored if it gets a name.
type storedIndex struct {
	desc ocispec.Descriptor
	data []byte
	idx  *ocispec.Index
}

// readIndex parses and checks the index of an archive, with the same checks as for
// an index from a registry.
func readIndex(data []byte) (storedIndex, error) {
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}
	idx, err := content.ParseIndex(data, desc)
	if err != nil {
		return storedIndex{}, fmt.Errorf("index of the archive: %w", err)
	}
	if n := len(idx.Manifests); n > maxManifests {
		return storedIndex{}, fmt.Errorf("index of the archive: %d entries, more than %d: %w", n, maxManifests, errdefs.ErrInvalidArgument)
	}
	return storedIndex{desc: desc, data: data, idx: idx}, nil
}

func encodeIndex(idx *ocispec.Index) (storedIndex, error) {
	data, err := json.Marshal(idx)
	if err != nil {
		return storedIndex{}, fmt.Errorf("encode index: %w", err)
	}
	return readIndex(data)
}

// listImages returns each of the archive's images once, in its order, with its
// names. Attestations and artifacts that are not below an image are left out.
func listImages(ctx context.Context, store cstore.Provider, index storedIndex) ([]named, error) {
	var found []named
	for _, m := range index.idx.Manifests {
		isIndex := images.IsIndexType(m.MediaType) && !content.IsAttestation(m)
		if !isIndex && !content.IsImage(ctx, store, m) {
			continue
		}
		name, err := carriedName(m)
		i := slices.IndexFunc(found, func(n named) bool { return n.target.Digest == m.Digest })
		if i < 0 {
			i = len(found)
			found = append(found, named{target: bare(m)})
			found[i].target.Platform = m.Platform
		}
		if name != "" && !slices.Contains(found[i].names, name) {
			found[i].names = append(found[i].names, name)
		}
		if found[i].unusable == nil {
			found[i].unusable = err
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("read archive: it holds no image: %w", errdefs.ErrInvalidArgument)
	}
	return found, nil
}

// carriedName returns the archive's name for an image. It is "" if there is none,
// and "" with an error if it is not a valid image name. OCI's annotation is often
// only a tag, which is not a full name.
func carriedName(m ocispec.Descriptor) (string, error) {
	name := m.Annotations[images.AnnotationImageName]
	if ref := m.Annotations[ocispec.AnnotationRefName]; name == "" && strings.ContainsAny(ref, "/:") {
		name = ref
	}
	if name == "" {
		return "", nil
	}
	full, err := content.Normalize(name)
	if err != nil {
		return "", err
	}
	if _, d, ok := strings.Cut(full, "@"); ok && digest.Digest(d) != m.Digest {
		return "", fmt.Errorf("%s is for an image with another digest than %s: %w", full, m.Digest, errdefs.ErrInvalidArgument)
	}
	return full, nil
}

// rename gives the names to one image of the archive: the only one, the index
// itself if it lists one image for several platforms, or the only image without a
// name.
func (l *loader) rename(ctx context.Context, found []named, index storedIndex, names []string) ([]named, error) {
	if len(found) == 1 {
		return []named{{names: names, target: found[0].target}}, nil
	}
	if onePerPlatform(found) {
		if err := content.WriteBlob(ctx, l.store, index.desc, nil, index.data); err != nil {
			return nil, err
		}
		return []named{{names: names, target: bare(index.desc)}}, nil
	}
	var have, nameless []string
	for i, f := range found {
		have = append(have, append(f.names, f.target.Digest.String())[0])
		if len(f.names) == 0 {
			nameless = append(nameless, f.target.Digest.String())
			found[i].names = names
		}
	}
	switch len(nameless) {
	case 0:
		return nil, fault.Mark(ErrSeveral, fmt.Errorf("load archive: it holds %d images (%s), which cannot all be %s: %w",
			len(found), strings.Join(have, ", "), names[0], errdefs.ErrInvalidArgument))
	case 1:
		return found, nil
	}
	return nil, fault.Mark(ErrSeveralNameless, fmt.Errorf("load archive: %s %s no name that can be used (%s), which cannot all be %s: %w",
		words.SomeOf(len(nameless), len(found), "image"), words.Pick(len(nameless), "has", "have"), strings.Join(nameless, ", "), names[0], errdefs.ErrInvalidArgument))
}

// onePerPlatform reports whether images without names look like the platforms of
// one image.
func onePerPlatform(found []named) bool {
	seen := map[string]bool{}
	for _, f := range found {
		if f.target.Platform == nil || len(f.names) > 0 {
			return false
		}
		p := content.FormatPlatform(*f.target.Platform)
		if seen[p] {
			return false
		}
		seen[p] = true
	}
	return true
}

// requireNames returns an error if an image has no usable name. It is another error
// if there are several such images, since one name is not enough then.
func requireNames(found []named) error {
	kind, nameless := ErrNoName, 0
	for _, f := range found {
		if len(f.names) == 0 {
			nameless++
		}
	}
	if nameless > 1 {
		kind = ErrSeveralNameless
	}
	for _, f := range found {
		if len(f.names) == 0 && f.unusable != nil {
			return noName(kind, f, fmt.Errorf("its name for the image %s cannot be used: %w", f.target.Digest, f.unusable))
		}
		if len(f.names) == 0 {
			return noName(kind, f, fmt.Errorf("it has no name for the image %s: %w", f.target.Digest, errdefs.ErrInvalidArgument))
		}
	}
	return nil
}

func noName(kind error, f named, why error) error {
	return &fault.Error{Kind: kind, Ref: f.target.Digest.String(), Err: fmt.Errorf("load archive: %w", why)}
}

func normalizeAll(refs []string) ([]string, error) {
	var names []string
	for _, ref := range refs {
		name, err := content.NormalizeTag(ref)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// bare returns a descriptor as image records have it, without the archive's
// annotations and platform.
func bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}
