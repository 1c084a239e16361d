package content

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Document is an index or a manifest of an image, as it was found.
type Document struct {
	Desc ocispec.Descriptor
	// Err says why it could not be read, and then there are no Children. It
	// wraps [errdefs.ErrNotFound] where the document is not stored and
	// [ErrCorrupt] where its bytes are not those of its digest.
	Err error
	// Children are what it names, in order: manifests, or config and layers.
	Children []Child
	// Beside: it lies beside images, as attestations and artifacts do, and is
	// none itself. See [IsImage].
	Beside bool
}

// Child is what a document names.
type Child struct {
	Desc ocispec.Descriptor
	// Label is the document's label, as containerd's client names it, by which
	// the garbage collector keeps the child.
	Label string
}

// IsIndex reports whether this is an index, by its descriptor.
func (d *Document) IsIndex() bool { return images.IsIndexType(d.Desc.MediaType) }

// maxChildren bounds what all documents of an image name together: a hundred
// platforms of a thousand layers each.
const maxChildren = 100_000

// Documents walks an image down from its target and returns its indexes and
// manifests, parents first, each digest once. What is wrong with one of them is
// in its Err; the error is for what keeps the store from being read, and for
// images that nest or list more than a genuine one can.
func Documents(ctx context.Context, store cstore.Provider, target ocispec.Descriptor) ([]Document, error) {
	var list []Document
	seen := map[digest.Digest]bool{}
	children := 0
	var walk func(desc ocispec.Descriptor, depth int) error
	walk = func(desc ocispec.Descriptor, depth int) error {
		if seen[desc.Digest] {
			return nil
		}
		seen[desc.Digest] = true
		if depth > maxIndexDepth+1 || len(seen) > maxIndexEntries {
			return fmt.Errorf("image %s: more than %d indexes within each other, or %d entries: %w", target.Digest, maxIndexDepth, maxIndexEntries, errdefs.ErrInvalidArgument)
		}
		doc := readDocument(ctx, store, desc)
		if err := ctx.Err(); err != nil {
			return err
		}
		if children += len(doc.Children); children > maxChildren {
			return fmt.Errorf("image %s: its documents name more than %d blobs: %w", target.Digest, maxChildren, errdefs.ErrInvalidArgument)
		}
		list = append(list, doc)
		for _, c := range doc.Children {
			if !images.IsIndexType(c.Desc.MediaType) && !images.IsManifestType(c.Desc.MediaType) {
				continue
			}
			if err := walk(c.Desc, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return list, walk(target, 0)
}

// readDocument reads what all manifests have in common: of attestations and
// artifacts config and layers are of types of their own.
func readDocument(ctx context.Context, store cstore.Provider, desc ocispec.Descriptor) Document {
	doc := Document{Desc: desc, Beside: !images.IsIndexType(desc.MediaType) && !IsImage(ctx, store, desc)}
	data, err := readJSON(ctx, store, desc)
	if err == nil {
		err = checkDocument(data, desc)
	}
	var body struct {
		Manifests []ocispec.Descriptor `json:"manifests"`
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
	}
	if err == nil {
		err = json.Unmarshal(data, &body)
	}
	if err != nil {
		doc.Err = err
		return doc
	}
	children := body.Manifests
	if body.Config != nil {
		children = append(children, *body.Config)
	}
	count := map[string]int{}
	for _, c := range append(children, body.Layers...) {
		if doc.Err = validDescriptor(c); doc.Err != nil {
			doc.Children = nil
			return doc
		}
		for _, label := range images.ChildGCLabels(c) {
			if strings.HasSuffix(label, ".") {
				count[label]++
				label = fmt.Sprintf("%s%d", label, count[label]-1)
			}
			doc.Children = append(doc.Children, Child{Desc: c, Label: label})
		}
	}
	return doc
}

// ReadableImages returns the images of a target, for all its platforms, apart from
// those that cannot be read.
func ReadableImages(ctx context.Context, store cstore.Store, target ocispec.Descriptor) []*Image {
	docs, err := Documents(ctx, store, target)
	if err != nil {
		return nil
	}
	var readable []*Image
	for _, doc := range docs {
		if doc.Err != nil || doc.IsIndex() || doc.Beside {
			continue
		}
		if img, err := ResolveTarget(ctx, store, doc.Desc, ""); err == nil {
			readable = append(readable, img)
		}
	}
	return readable
}

// Unlabelled returns the children of a stored document that are stored and
// that none of its labels keeps from the garbage collector.
func Unlabelled(ctx context.Context, store cstore.InfoProvider, doc *Document) ([]Child, error) {
	info, err := store.Info(ctx, doc.Desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("read labels of %s: %w", doc.Desc.Digest, err)
	}
	kept := map[string]bool{}
	for k, v := range info.Labels {
		if keepsContent(k) {
			kept[v] = true
		}
	}
	var missing []Child
	for _, c := range doc.Children {
		if kept[c.Desc.Digest.String()] {
			continue
		}
		_, err := store.Info(ctx, c.Desc.Digest)
		switch {
		case errdefs.IsNotFound(err):
		case err != nil:
			return nil, fmt.Errorf("look for %s: %w", c.Desc.Digest, err)
		default:
			missing = append(missing, c)
		}
	}
	return missing, nil
}

// SnapshotLabel is the name of the config's label that keeps an image's
// snapshot in a snapshotter.
func SnapshotLabel(snapshotter string) string { return gcSnapshot + snapshotter }
