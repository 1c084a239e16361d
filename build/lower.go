package build

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/snapshot/rootfs"
)

// Squash compares all files of an image with those of its lower layers. The layer of
// that difference replaces all layers above the lower ones. onto is the image whose
// layers stay. If it is empty, annotations and histories tell the original base. If
// there is at most one layer above the lower ones, nothing differs: see [Same].
func (s *Session) Squash(ctx context.Context, img *content.Image, onto, platform string, reader rootfs.Reader) (*Diff, error) {
	// Checked first, so that an encrypted image gives the same error as in other
	// builds.
	if err := s.refuseEncrypted(img); err != nil {
		return nil, err
	}
	s.Steps.Start(progress.Compare)
	low, err := s.findLower(ctx, img, onto, platform)
	if err != nil {
		return nil, err
	}
	if low.layers >= len(img.Layers)-1 {
		return Same(img), nil
	}
	base, err := s.lowerImage(ctx, img, low.layers)
	if err != nil {
		return nil, err
	}
	d, err := s.Compare(ctx, AllFiles(base, "lower layers of"), Exactly{Of: AllFiles(img, "image"), Name: img.Name, Times: true}, reader)
	if err != nil {
		return nil, err
	}
	d.Squashed, d.Origin = len(img.Layers)-low.layers, low.image
	return d, nil
}

// Flatten keeps chains of builds short. If the base of d has limit layers or more, it
// returns a new difference, from the original base: all that Veneer has put upon
// that, and the targets. A negative limit means that no base is too deep. Otherwise
// it returns d. The caller must not use d afterwards.
func (s *Session) Flatten(ctx context.Context, d *Diff, limit int) (*Diff, error) {
	if limit < 0 || d.Empty() || len(d.Base.Layers) < limit {
		return d, nil
	}
	low, err := s.originalBase(ctx, d.Base)
	if err != nil || low.layers == len(d.Base.Layers) {
		return d, err
	}
	base, err := s.lowerImage(ctx, d.Base, low.layers)
	if err != nil {
		return nil, err
	}
	flat := &Diff{
		Base: base, Squashed: len(d.Base.Layers) - low.layers, Origin: low.image,
		rules: d.rules, targets: d.targets, how: d.how, trees: d.trees,
	}
	d.trees = nil
	s.closeAtEnd(flat)
	if flat.base, err = flat.open(ctx, s, AllFiles(base, "lower layers of")); err != nil {
		return nil, err
	}
	if flat.changes, err = differ.NewChanges(ctx, flat.base); err != nil {
		return nil, err
	}
	if d.whole != nil {
		return flat, d.whole.apply(ctx, s, flat)
	}
	if err := flat.become(ctx, s, d.base, Exactly{Name: d.Base.Name, Times: true}); err != nil {
		return nil, err
	}
	flat.exact = false // Targets are applied on top.
	for _, t := range flat.targets {
		t.ForceDelete = true // It was allowed, or deleted nothing.
		if err := flat.changes.Apply(ctx, t, flat.rules.options(s)); err != nil {
			return nil, err
		}
	}
	return flat, nil
}

// lower says which of an image's layers stay.
type lower struct {
	layers int
	// image has exactly these layers. nil: no such image is known.
	image *content.Image
}

// findLower finds what an image is to be squashed onto.
func (s *Session) findLower(ctx context.Context, img *content.Image, onto, platform string) (lower, error) {
	if onto == "" && content.OwnLayers(img) > 0 {
		return s.originalBase(ctx, img)
	}
	if onto == "" {
		below, err := s.annotatedBase(ctx, img)
		if err == nil && below == nil {
			err = &fault.Error{Kind: ErrNoLower, Op: "squash", Ref: img.Name}
		}
		if err != nil {
			return lower{}, err
		}
		return lower{len(below.Layers), below}, nil
	}
	low, err := content.Resolve(ctx, s.Engine.Client, onto, platform)
	if err != nil {
		return lower{}, err
	}
	if !isLower(low, img) {
		return lower{}, &fault.Error{Kind: ErrNotLower, Op: "squash", Ref: img.Name + " onto " + low.Name}
	}
	return lower{len(low.Layers), low}, nil
}

// originalBase finds the image that a chain of Veneer's builds began with, see
// [Session.Squash]. If the base is not Veneer's, it is the base itself.
func (s *Session) originalBase(ctx context.Context, base *content.Image) (lower, error) {
	for img := base; ; {
		n := len(img.Layers)
		own := content.OwnLayers(img)
		if own == 0 {
			return lower{n, img}, nil
		}
		below, err := s.annotatedBase(ctx, img)
		if err != nil {
			return lower{}, err
		}
		if below == nil {
			// Even the bottom layer may be Veneer's, if it was built on scratch. It stays.
			if low := max(1, n-own); low < n {
				return lower{layers: low}, nil
			}
			return lower{n, img}, nil
		}
		img = below
	}
}

// annotatedBase returns the image that an image's annotations name as its base. It
// returns nil if that is not stored, or if its layers are not the image's lower ones.
func (s *Session) annotatedBase(ctx context.Context, img *content.Image) (*content.Image, error) {
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
		below, err := content.Resolve(ctx, s.Engine.Client, ref, content.FormatPlatform(img.Platform))
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

// lowerImage stores an image of the lowest layers of another one, so that it can be
// unpacked. Only the session's lease keeps it.
func (s *Session) lowerImage(ctx context.Context, img *content.Image, layers int) (*content.Image, error) {
	low, err := content.Lower(img, layers)
	if err != nil {
		return nil, err
	}
	return low, content.Store(ctx, s.Engine.Client.ContentStore(), low, "")
}
