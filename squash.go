package veneer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/differ/tree"
	"github.com/veneer-build/veneer/engine"
)

// DefaultMaxLayers is how many layers a base may have before a build squashes
// it: half of what Docker mounts, and a fifth of what containerd does
// (docs/images.md, "Squashing").
const DefaultMaxLayers = 64

// SquashRequest says which image is to have fewer layers.
type SquashRequest struct {
	// Request is what Build takes: Base is the image to be squashed. Targets and
	// MaxLayers are not used; Config edits the config of the result.
	Request
	// Onto is the image whose layers stay: they must be the lowest of Base's.
	// Empty: the original base, see [Squash].
	Onto string
}

// Squash makes an image that shows the same files, and runs in the same way,
// of which the layers above a base are one. Without Onto that base is the
// image that Veneer's builds started from: the annotations that say what an
// image is based on are followed for as long as Veneer made the uppermost
// layer. Where the next image is not stored, or its layers are not the lower
// ones of this, the history decides: the layers stay that lie below the
// uppermost run of Veneer's own, and at least one. An image without such
// layers is squashed onto what its annotations name, or it is an error.
func Squash(ctx context.Context, e *engine.Engine, req SquashRequest) (*Result, error) {
	if len(req.Targets) > 0 {
		return nil, errors.New("squash an image: targets do not go with it; build on the result")
	}
	if req.Differ == DifferService {
		return nil, errors.New("squash an image: containerd's diff service cannot store all of a difference; leave out --differ=service")
	}
	if err := req.check(); err != nil {
		return nil, err
	}
	b := newBuild(e, req.Request)
	b.compareFiles = func(ctx context.Context, reader ReaderKind) error { return b.squash(ctx, req.Onto, reader) }
	return b.run(ctx)
}

// squash compares all files of the image with those of what it is squashed onto.
func (b *build) squash(ctx context.Context, onto string, reader ReaderKind) error {
	if b.squashed > 0 { // A second try, with another reader.
		b.base = b.from
	}
	low, err := b.findLower(ctx, onto)
	if err != nil {
		return err
	}
	if low.layers >= len(b.base.Layers)-1 {
		return nil // One layer, or none, lies upon it already.
	}
	all, err := b.openWhole(ctx, b.base, "image", reader)
	if err != nil {
		return err
	}
	if err := b.startLower(ctx, low, all, reader); err != nil {
		return err
	}
	b.changes.Expect()
	b.result.Warnings = append(b.result.Warnings, b.changes.Warnings()...)
	return nil
}

// squashDeep makes the layer again if the base has become too deep: of all that
// Veneer put upon the original base, and the targets.
func (b *build) squashDeep(ctx context.Context, reader ReaderKind) error {
	limit := b.MaxLayers
	if limit == 0 {
		limit = DefaultMaxLayers
	}
	if limit < 0 || b.empty() || len(b.base.Layers) < limit {
		return nil
	}
	low, err := b.originalBase(ctx)
	if err != nil || low.layers == len(b.base.Layers) {
		return err
	}
	if err := b.startLower(ctx, low, b.baseTree, reader); err != nil {
		return err
	}
	for _, t := range b.opened {
		t.ForceDelete = true // It was allowed, or deleted nothing.
		if err := b.changes.Apply(ctx, t, b.compareOptions()); err != nil {
			return err
		}
	}
	return nil
}

// lower says which of an image's layers stay.
type lower struct {
	layers int
	// image has just those; nil where none is known to.
	image *content.Image
}

// findLower finds what an image is to be squashed onto.
func (b *build) findLower(ctx context.Context, onto string) (lower, error) {
	if onto == "" && content.OwnLayers(b.base) > 0 {
		return b.originalBase(ctx)
	}
	if onto == "" {
		below, err := b.annotatedBase(ctx, b.base)
		if err == nil && below == nil {
			err = fmt.Errorf("squash %s: neither its annotations nor its history tell what it was built on; say with --onto which image it is", b.base.Name)
		}
		if err != nil {
			return lower{}, err
		}
		return lower{len(below.Layers), below}, nil
	}
	img, err := content.Resolve(ctx, b.engine.Client, onto, b.Platform)
	if err != nil {
		return lower{}, err
	}
	if !isLower(img, b.base) {
		return lower{}, fmt.Errorf("squash %s onto %s: the layers of the second are not the lower layers of the first; veneer delta makes one image of any two", b.base.Name, img.Name)
	}
	return lower{len(img.Layers), img}, nil
}

// originalBase finds what Veneer's builds of the base began with: see [Squash].
// It is the base itself where that is not Veneer's.
func (b *build) originalBase(ctx context.Context) (lower, error) {
	for img := b.base; ; {
		n := len(img.Layers)
		own := content.OwnLayers(img)
		if own == 0 {
			return lower{n, img}, nil
		}
		below, err := b.annotatedBase(ctx, img)
		if err != nil {
			return lower{}, err
		}
		if below == nil {
			// The first layer of all may be Veneer's too, upon scratch.
			if low := max(1, n-own); low < n {
				return lower{layers: low}, nil
			}
			return lower{n, img}, nil
		}
		img = below
	}
}

// annotatedBase returns the image that another one's annotations say it is
// based on, if it is stored and its layers say so too; else nil.
func (b *build) annotatedBase(ctx context.Context, img *content.Image) (*content.Image, error) {
	refs, err := content.BaseOf(img)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		if d := digest.Digest(ref); d.Validate() != nil {
			if _, err := content.ParseRef(ref); err != nil {
				continue // A stranger's annotation.
			}
		}
		below, err := content.Resolve(ctx, b.engine.Client, ref, content.FormatPlatform(img.Platform))
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find the base of %s: %w", img.Name, err)
		}
		if isLower(below, img) {
			return below, nil
		}
	}
	return nil, nil
}

// isLower reports whether the layers of one image are the lower ones of another.
func isLower(low, img *content.Image) bool {
	n := len(low.DiffIDs)
	return n > 0 && n < len(img.DiffIDs) && slices.Equal(low.DiffIDs, img.DiffIDs[:n])
}

// startLower begins the changes again: against the lower layers, with the whole
// image's files, which it takes from all, a tree that stays open.
func (b *build) startLower(ctx context.Context, low lower, all tree.Tree, reader ReaderKind) error {
	whole := b.base
	base, err := b.lowerImage(ctx, whole, low.layers)
	if err != nil {
		return err
	}
	below, err := b.openWhole(ctx, base, "lower layers of", reader)
	if err != nil {
		return err
	}
	if b.changes, err = differ.NewChanges(ctx, below); err != nil {
		return err
	}
	err = b.changes.Exactly(ctx, all, differ.ExactOptions{
		Options: differ.Options{Count: b.steps.count}, Name: whole.Name, Times: true, RootMeta: true,
	})
	if err != nil {
		return err
	}
	if b.configJSON, err = content.Transplant(b.configJSON, base); err != nil {
		return err
	}
	b.base, b.origin, b.squashed = base, low.image, len(whole.Layers)-low.layers
	return nil
}

// lowerImage stores what the lowest layers of an image are, as an image that
// nothing but the build's lease keeps.
func (b *build) lowerImage(ctx context.Context, img *content.Image, layers int) (*content.Image, error) {
	low, err := content.Lower(img, layers)
	if err != nil {
		return nil, err
	}
	if err := content.Store(ctx, b.engine.Client, low, ""); err != nil {
		return nil, err
	}
	base, err := content.ResolveTarget(ctx, b.engine.Client.ContentStore(), low.Manifest, "")
	if err != nil {
		return nil, err
	}
	base.Name = img.Name
	return base, nil
}
