package archive

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

const (
	// sumsFile lists the SHA-256 of the archive's files, in the format of
	// sha256sum(1). Blobs are named by their digests. For the index there is no
	// other check that its names are those that were written.
	sumsFile = "SHA256SUMS"
	// dockerFile is the file that docker load reads.
	dockerFile = "manifest.json"
)

// document is a small file of an archive.
type document struct {
	name string
	data []byte
}

func (d document) put(to sink) error {
	return to.file(d.name, int64(len(d.data)), bytes.NewReader(d.data))
}

// documents returns the archive's files other than blobs, in order. A delta archive
// has no manifest.json, since Docker could not load it.
func (p *plan) documents() ([]document, error) {
	index, err := p.index()
	if err != nil {
		return nil, err
	}
	type file struct {
		name  string
		value any
	}
	files := []file{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, index},
	}
	if p.result.Left == 0 {
		files = append(files, file{dockerFile, p.dockerManifest()})
	}
	var docs []document
	var sums strings.Builder
	for _, f := range files {
		data, err := json.Marshal(f.value)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", f.name, err)
		}
		docs = append(docs, document{f.name, data})
		fmt.Fprintf(&sums, "%s  %s\n", digest.SHA256.FromBytes(data).Encoded(), f.name)
	}
	for _, b := range p.blobs() {
		if b.Digest.Algorithm() == digest.SHA256 {
			fmt.Fprintf(&sums, "%s  %s\n", b.Digest.Encoded(), blobPath(b))
		}
	}
	// The sums come first, so that the index is checked as soon as it is read.
	return append([]document{docs[0], {sumsFile, []byte(sums.String())}}, docs[1:]...), nil
}

// index returns the layout's index.json, with an entry for each name.
func (p *plan) index() (ocispec.Index, error) {
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, it := range p.items {
		if len(it.Names) == 0 {
			idx.Manifests = append(idx.Manifests, it.Target)
		}
		for _, name := range it.Names {
			d := it.Target
			d.Annotations = map[string]string{images.AnnotationImageName: name, ocispec.AnnotationRefName: refName(name)}
			idx.Manifests = append(idx.Manifests, d)
		}
	}
	if p.result.Left > 0 {
		text, err := json.Marshal(deltaNote{Version: deltaVersion, Needs: p.needs})
		if err != nil {
			return idx, fmt.Errorf("encode what is needed: %w", err)
		}
		idx.Annotations = map[string]string{annotationDelta: string(text)}
	}
	return idx, nil
}

// refName returns the tag of a name, as OCI suggests, or the name if it has none.
func refName(name string) string {
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		if t, ok := named.(reference.Tagged); ok {
			return t.Tag()
		}
	}
	return name
}

// dockerImage is an entry of docker save's manifest.json
// (moby image/spec/v1.2.md).
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerManifest returns manifest.json. Docker has one platform of each image: this
// host's, or else the first.
func (p *plan) dockerManifest() []dockerImage {
	list := []dockerImage{}
	for i, it := range p.items {
		img := hostImage(p.images[i])
		entry := dockerImage{Config: blobPath(img.ConfigDesc), Layers: []string{}}
		for _, l := range img.Layers {
			entry.Layers = append(entry.Layers, blobPath(l))
		}
		for _, name := range it.Names {
			// Docker refuses names with a digest there.
			if named, err := reference.ParseNormalizedNamed(name); err == nil && !strings.Contains(name, "@") {
				entry.RepoTags = append(entry.RepoTags, reference.FamiliarString(reference.TagNameOnly(named)))
			}
		}
		list = append(list, entry)
	}
	return list
}

func hostImage(list []*content.Image) *content.Image {
	best, host := list[0], platforms.Only(platforms.DefaultSpec())
	for _, img := range list[1:] {
		fits := host.Match(img.Platform)
		if fits && (!host.Match(best.Platform) || host.Less(img.Platform, best.Platform)) {
			best = img
		}
	}
	return best
}
