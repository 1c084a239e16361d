package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// plan is the content of an archive, in order.
type plan struct {
	store  cstore.Store
	items  []Item
	since  []*Base
	result Exported

	// upper are indexes, manifests and configs. lower are all other blobs.
	upper, lower []ocispec.Descriptor
	seen         map[digest.Digest]bool // blobs in upper or lower
	left         map[digest.Digest]bool // layers that the reader has
	// images are the exported platforms of each item.
	images [][]*content.Image
	needs  []need
}

func newPlan(ctx context.Context, store cstore.Store, items []Item, opts ExportOptions) (*plan, error) {
	p := &plan{store: store, since: opts.Since, seen: map[digest.Digest]bool{}, left: map[digest.Digest]bool{}}
	for _, it := range items {
		if err := p.add(ctx, it); err != nil {
			return nil, fmt.Errorf("export %s: %w", it.name(), err)
		}
	}
	if len(p.items) == 0 {
		return nil, fmt.Errorf("export: no image to put into the archive: %w", errdefs.ErrInvalidArgument)
	}
	for _, b := range p.blobs() {
		p.result.Blobs++
		p.result.Bytes += b.Size
	}
	return p, nil
}

// name returns the item's name for errors.
func (i Item) name() string {
	return append(slices.Clone(i.Names), i.Target.Digest.String())[0]
}

// add adds one image to the plan. If it is there already, it only gets the new
// names.
func (p *plan) add(ctx context.Context, it Item) error {
	it.Target = bare(it.Target)
	if i := slices.IndexFunc(p.items, func(have Item) bool { return have.Target.Digest == it.Target.Digest }); i >= 0 {
		p.items[i].Names = slices.Concat(p.items[i].Names, it.Names)
		return nil
	}
	var whole []*content.Image
	var err error
	if images.IsIndexType(it.Target.MediaType) {
		whole, err = p.addIndex(ctx, it.Target)
	} else {
		var img *content.Image
		img, err = p.addImage(ctx, it.Target, it.Target)
		whole = []*content.Image{img}
	}
	if err != nil {
		return err
	}
	it.Names = slices.Clone(it.Names)
	p.items = append(p.items, it)
	p.images = append(p.images, whole)
	return nil
}

// addIndex adds an index: its complete platforms, and what is listed beside them
// (attestations, artifacts) if complete.
func (p *plan) addIndex(ctx context.Context, target ocispec.Descriptor) ([]*content.Image, error) {
	manifests, err := content.Manifests(ctx, p.store, target)
	if err != nil {
		return nil, err
	}
	if err := p.addDocuments(ctx, target); err != nil {
		return nil, err
	}
	var whole []*content.Image
	var errs []error
	for _, m := range manifests {
		img, err := p.addImage(ctx, target, m)
		switch {
		case err == nil:
			whole = append(whole, img)
		case errdefs.IsNotFound(err):
			errs = append(errs, err)
		default:
			return nil, err
		}
	}
	if len(whole) == 0 {
		return nil, errors.Join(append([]error{fmt.Errorf("no platform of it is stored as a whole: %w", errdefs.ErrNotFound)}, errs...)...)
	}
	return whole, nil
}

// addDocuments adds an index, the indexes in it, and what is listed beside images
// in both. [content.Manifests] has limited their number and depth.
func (p *plan) addDocuments(ctx context.Context, index ocispec.Descriptor) error {
	idx, err := content.ReadIndex(ctx, p.store, index)
	if errdefs.IsNotFound(err) {
		return nil // another platform's
	}
	if err != nil {
		return err
	}
	p.put(&p.upper, index)
	for _, d := range idx.Manifests {
		switch {
		case images.IsIndexType(d.MediaType):
			err = p.addDocuments(ctx, d)
		case !content.IsImage(ctx, p.store, d):
			err = p.addBeside(ctx, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addBeside adds a manifest that is not an image's, if it is stored whole.
func (p *plan) addBeside(ctx context.Context, d ocispec.Descriptor) error {
	if !images.IsManifestType(d.MediaType) {
		return nil
	}
	below, err := content.Children(ctx, p.store, d)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s, which lies beside images: %w", d.Digest, err)
	}
	for _, b := range below {
		if err := b.Digest.Validate(); err != nil {
			return fmt.Errorf("%s, which lies beside images: descriptor with digest %q: %w", d.Digest, b.Digest, err)
		}
		if ok, err := cstore.Exists(ctx, p.store, b); err != nil || !ok {
			return err
		}
	}
	p.put(&p.upper, d)
	for _, b := range below {
		p.put(&p.lower, b)
	}
	return nil
}

// addImage adds one platform's image, without the layers that the reader has.
// target is the descriptor that has the name. If a part of the image is not stored,
// the error wraps [errdefs.ErrNotFound], and nothing is added.
func (p *plan) addImage(ctx context.Context, target, manifest ocispec.Descriptor) (*content.Image, error) {
	img, err := content.ResolveTarget(ctx, p.store, manifest, "")
	if err != nil {
		return nil, err
	}
	need, err := p.needOf(target, img)
	if err != nil {
		return nil, err
	}
	p.put(&p.upper, img.Manifest)
	p.put(&p.upper, img.ConfigDesc)
	for _, l := range img.Layers {
		switch {
		case !need.has(l.Digest):
			p.put(&p.lower, l)
		case !p.left[l.Digest]:
			p.left[l.Digest] = true
			p.result.Left++
			p.result.LeftBytes += l.Size
		}
	}
	if len(p.since) > 0 {
		p.needs = append(p.needs, need)
	}
	// Only the fields that documents need, since a thousand platforms may share a
	// config of megabytes.
	return &content.Image{Platform: img.Platform, ConfigDesc: img.ConfigDesc, Layers: img.Layers}, nil
}

// needOf returns what the reader must have for an image. Layers that are not stored
// here must be among that.
func (p *plan) needOf(target ocispec.Descriptor, img *content.Image) (need, error) {
	n := newNeed(target, img, p.since)
	var lacks []string
	for _, m := range img.Missing {
		if !n.has(m.Digest) {
			lacks = append(lacks, m.Digest.String())
		}
	}
	switch {
	case len(lacks) == 0:
		return n, nil
	case len(p.since) > 0:
		return need{}, fault.Mark(ErrIncomplete, fmt.Errorf("%s %s neither stored nor in the images that the reader has (%s): %w",
			words.SomeOf(len(lacks), len(img.Layers), "layer"), words.Pick(len(lacks), "is", "are"), strings.Join(lacks, ", "), errdefs.ErrNotFound))
	}
	return need{}, fault.Mark(ErrIncomplete, fmt.Errorf("%s %s not stored (%s): %w",
		words.SomeOf(len(lacks), len(img.Layers), "layer"), words.Pick(len(lacks), "is", "are"), strings.Join(lacks, ", "), errdefs.ErrNotFound))
}

// put adds a blob, once.
func (p *plan) put(list *[]ocispec.Descriptor, d ocispec.Descriptor) {
	if !p.seen[d.Digest] {
		p.seen[d.Digest] = true
		*list = append(*list, d)
	}
}

func (p *plan) blobs() []ocispec.Descriptor { return slices.Concat(p.upper, p.lower) }

// algorithms returns the algorithms of the digests, sorted.
func (p *plan) algorithms() []string {
	set := map[string]bool{}
	for d := range p.seen {
		set[d.Algorithm().String()] = true
	}
	return slices.Sorted(maps.Keys(set))
}
