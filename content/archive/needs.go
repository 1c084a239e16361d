package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/rawjson"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/words"
)

// readDelta returns what a delta archive needs, or nil for another archive.
func readDelta(idx *ocispec.Index) (*deltaNote, error) {
	text, ok := idx.Annotations[annotationDelta]
	if !ok {
		return nil, nil
	}
	if err := rawjson.Check([]byte(text)); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", annotationDelta, err)
	}
	var d deltaNote
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return nil, fmt.Errorf("annotation %s: %w: %w", annotationDelta, err, errdefs.ErrInvalidArgument)
	}
	if d.Version != deltaVersion {
		return nil, fmt.Errorf("it is a delta archive of version %d, and this veneer reads version %d: %w", d.Version, deltaVersion, errdefs.ErrNotImplemented)
	}
	for _, n := range d.Needs {
		if err := n.check(); err != nil {
			return nil, fmt.Errorf("annotation %s: %w", annotationDelta, err)
		}
	}
	return &d, nil
}

func (n need) check() error {
	if len(n.Layers) > content.MaxLayers {
		return fmt.Errorf("it needs %d layers for one image, more than %d: %w", len(n.Layers), content.MaxLayers, errdefs.ErrInvalidArgument)
	}
	all := []digest.Digest{n.Target, n.Manifest}
	for _, b := range n.Bases {
		if b.Name != "" && !canonical(b.Name) {
			return fmt.Errorf("base with the name %q: %w", b.Name, errdefs.ErrInvalidArgument)
		}
		all = append(all, b.Digest)
	}
	for _, l := range n.Layers {
		all = append(all, l.Digest, l.Chain)
	}
	for _, d := range all {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("digest %q: %w: %w", d, err, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// begin is called with the archive's index, if possible before the blobs are read.
// It returns an error if something that the archive needs is missing here.
func (l *loader) begin(ctx context.Context, index storedIndex) error {
	if l.begun {
		return nil
	}
	l.begun = true
	var err error
	if l.delta, err = readDelta(index.idx); err != nil || l.delta == nil {
		return err
	}
	errs := map[digest.Digest][]error{} // of each target's manifests
	fine := map[digest.Digest]bool{}
	for _, n := range l.delta.Needs {
		if err := ctx.Err(); err != nil {
			return err
		}
		wanted, err := l.wants(n)
		if err != nil {
			return err
		}
		lacks, _, err := l.lacking(ctx, n.Layers)
		switch {
		case err != nil:
			return err
		case len(lacks) == 0:
			fine[n.Target] = true
		case wanted:
			return l.needError(ctx, n, lacks)
		default:
			errs[n.Target] = append(errs[n.Target], l.needError(ctx, n, lacks))
		}
	}
	for _, m := range index.idx.Manifests {
		if !fine[m.Digest] && len(errs[m.Digest]) > 0 {
			name := append(slices.DeleteFunc([]string{m.Annotations[images.AnnotationImageName]}, func(s string) bool { return s == "" }), m.Digest.String())[0]
			return fmt.Errorf("%s: %w", name, errors.Join(errs[m.Digest]...))
		}
	}
	return nil
}

// wants reports whether the manifest is for the wanted platform.
func (l *loader) wants(n need) (bool, error) {
	if l.opts.Platform == "" || n.Platform == "" {
		return false, nil
	}
	want, err := platforms.Parse(l.opts.Platform)
	if err != nil {
		return false, fmt.Errorf("parse platform %q: %w", l.opts.Platform, err)
	}
	have, err := platforms.Parse(n.Platform)
	if err != nil {
		return false, fmt.Errorf("annotation %s: platform %q: %w", annotationDelta, n.Platform, err)
	}
	return platforms.Only(want).Match(have), nil
}

// lacking returns the layers that are missing here, both as blobs and in snapshots,
// and the chain ID of the snapshot that replaces blobs. layers are ordered from the
// lowest. Blobs and snapshot are added to the lease.
func (l *loader) lacking(ctx context.Context, layers []neededLayer) (lacks []neededLayer, chain digest.Digest, err error) {
	for _, need := range slices.Backward(layers) {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		if err := l.keep(ctx, need.Digest); err != nil {
			return nil, "", err
		}
		_, err := l.store.Info(ctx, need.Digest)
		if err == nil {
			continue
		}
		if !errdefs.IsNotFound(err) {
			return nil, "", fmt.Errorf("look for layer %s: %w", need.Digest, err)
		}
		if l.opts.Snapshots != nil {
			there, err := l.opts.Snapshots.Has(ctx, need.Chain)
			if err != nil {
				return nil, "", err
			}
			if there {
				return lacks, need.Chain, nil // the snapshot has the layers below too
			}
		}
		lacks = append(lacks, need)
	}
	return lacks, "", nil
}

// keep adds a blob to ctx's lease, see [lease.AddBlob].
func (l *loader) keep(ctx context.Context, d digest.Digest) error {
	if err := lease.AddBlob(ctx, l.engine.LeasesService(), d); err != nil {
		return fmt.Errorf("hold %s: %w", d, err)
	}
	return nil
}

// lackError returns an error that says which layers an image lacks, and where to
// get them if the archive says so.
func (l *loader) lackError(ctx context.Context, img *content.Image, lacks []neededLayer) error {
	if l.delta != nil {
		for _, n := range l.delta.Needs {
			if n.Manifest == img.Manifest.Digest && len(n.Bases) > 0 && n.has(lacks[0].Digest) {
				return l.needError(ctx, n, lacks)
			}
		}
	}
	return fmt.Errorf("neither the archive nor this engine has %s (%s); get the image with them first: %w",
		words.SomeOf(len(lacks), len(img.Layers), "layer"), layerList(lacks), errdefs.ErrNotFound)
}

// needError returns an error that says which base a delta archive needs.
func (l *loader) needError(ctx context.Context, n need, lacks []neededLayer) error {
	var bases, named []string
	for _, b := range n.Bases {
		ref := b.Digest.String()
		if name, _, _ := strings.Cut(b.Name, "@"); name != "" {
			ref = name + "@" + ref
			named = append(named, ref)
		}
		bases = append(bases, ref+l.otherBase(ctx, b))
	}
	if len(bases) == 0 {
		return fmt.Errorf("%s of %s, which the archive leaves out, %s not here (%s): %w",
			words.Count(len(lacks), "layer", "layers"), n.Manifest, words.Pick(len(lacks), "is", "are"), layerList(lacks), errdefs.ErrNotFound)
	}
	err := fmt.Errorf("the archive is a delta to %s, of which %s %s not here (%s); get that image first: %w",
		strings.Join(bases, " and "), words.Count(len(lacks), "layer", "layers"), words.Pick(len(lacks), "is", "are"), layerList(lacks), errdefs.ErrNotFound)
	for _, ref := range slices.Backward(named) {
		err = &fault.Error{Kind: ErrNeedsBase, Ref: ref, Err: err}
	}
	return err
}

// otherBase returns a text about an image that has the base's name here, and is a
// different one.
func (l *loader) otherBase(ctx context.Context, b baseRef) string {
	img, err := l.engine.ImageService().Get(ctx, b.Name)
	if b.Name == "" || err != nil || img.Target.Digest == b.Digest {
		return ""
	}
	return fmt.Sprintf(" (the one here is %s)", img.Target.Digest)
}

// layerList returns a text that names a few layers.
func layerList(layers []neededLayer) string {
	const most = 3
	var names []string
	for i, l := range layers {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, l.Digest.String())
	}
	return strings.Join(names, ", ")
}
