package content

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Listed is one name of one image.
type Listed struct {
	Record images.Image
	// Platforms are those whose manifest and config are here.
	Platforms []ocispec.Platform
	// Size is that of all blobs of the image that are here, each counted once.
	Size int64
	// Incomplete: the layers of some of Platforms are not all here.
	Incomplete bool
	// Created and Labels are those of the config, of the host's platform if it is
	// among Platforms, else of the first. Created is zero where the config has no time.
	Created time.Time
	Labels  map[string]string
	// Err says why the image could not be read; the rest is then partial.
	Err error

	// blobs are those that Size counts.
	blobs map[digest.Digest]int64
}

// List returns all image records of ctx's namespace, in order of their names.
// An image that is damaged is listed with its error.
func List(ctx context.Context, c Images) ([]Listed, error) {
	all, err := c.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	slices.SortFunc(all, func(a, b images.Image) int { return cmp.Compare(a.Name, b.Name) })
	list := make([]Listed, len(all))
	for i, img := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list[i] = Listed{Record: img}
		list[i].Err = list[i].measure(ctx, c.ContentStore())
	}
	return list, nil
}

func (l *Listed) measure(ctx context.Context, store cstore.Store) error {
	manifests := []ocispec.Descriptor{l.Record.Target}
	l.blobs = map[digest.Digest]int64{}
	add := func(blobs ...ocispec.Descriptor) {
		for _, b := range blobs {
			if _, seen := l.blobs[b.Digest]; !seen {
				l.blobs[b.Digest] = b.Size
				l.Size += b.Size
			}
		}
	}
	if images.IsIndexType(l.Record.Target.MediaType) {
		var err error
		if manifests, err = Manifests(ctx, store, l.Record.Target); err != nil {
			return err
		}
		add(l.Record.Target)
	}
	var errs []error
	host := platforms.Default()
	described := false // by the config of the host's platform
	for _, d := range manifests {
		img, err := loadImage(ctx, store, d)
		if errdefs.IsNotFound(err) && len(manifests) > 1 {
			continue // another platform's
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if ours := host.Match(img.Platform); len(l.Platforms) == 0 || ours && !described {
			described = ours
			l.describe(img)
		}
		l.Platforms = append(l.Platforms, img.Platform)
		l.Incomplete = l.Incomplete || len(img.Missing) > 0
		add(img.Manifest, img.ConfigDesc)
		for _, layer := range img.Layers {
			if !img.lacks(layer.Digest) {
				add(layer)
			}
		}
	}
	return errors.Join(errs...)
}

func (l *Listed) describe(img *Image) {
	l.Labels, l.Created = img.Config.Config.Labels, time.Time{}
	if img.Config.Created != nil {
		l.Created = *img.Config.Created
	}
}

// Step is one entry of an image's history, with the layer that it made.
type Step struct {
	Created   *time.Time `json:"created,omitempty"`
	CreatedBy string     `json:"created_by,omitempty"`
	Author    string     `json:"author,omitempty"`
	Comment   string     `json:"comment,omitempty"`
	// Layer is nil for a step that changed only the config.
	Layer  *ocispec.Descriptor `json:"layer,omitempty"`
	DiffID digest.Digest       `json:"diff_id,omitempty"`
	// Missing: the layer's blob is not here.
	Missing bool `json:"missing,omitempty"`
}

// History joins the image's history with its layers, oldest first. Layers
// that the history does not account for come last, without description.
func History(img *Image) []Step {
	var steps []Step
	next := 0
	layer := func(s Step) Step {
		l := img.Layers[next]
		s.Layer, s.DiffID = &l, img.DiffIDs[next]
		s.Missing = img.lacks(l.Digest)
		next++
		return s
	}
	for _, h := range img.Config.History {
		s := Step{Created: h.Created, CreatedBy: h.CreatedBy, Author: h.Author, Comment: h.Comment}
		if !h.EmptyLayer && next < len(img.Layers) {
			s = layer(s)
		}
		steps = append(steps, s)
	}
	for next < len(img.Layers) {
		steps = append(steps, layer(Step{}))
	}
	return steps
}

// Tag gives a stored image one more name, or moves the name to it. src is as
// [Resolve] takes it, except that a name stands for all its platforms. The name
// may be NAME@DIGEST if the digest is the image's.
func Tag(ctx context.Context, c interface {
	Finder
	Recorder
}, src, dst string,
) (images.Image, error) {
	name, err := CheckTag(dst)
	if err != nil {
		return images.Image{}, err
	}
	f, err := find(ctx, c, src)
	if err != nil {
		return images.Image{}, err
	}
	target := f.target
	target.Platform = nil // a record holds none
	if isDigested(name) && !strings.HasSuffix(name, "@"+target.Digest.String()) {
		return images.Image{}, fmt.Errorf("tag %s as %s: its digest is %s: %w", src, dst, target.Digest, errdefs.ErrInvalidArgument)
	}
	if err := NameSources(ctx, c.ContentStore(), name, target); err != nil {
		return images.Image{}, err
	}
	return Record(ctx, c, name, target)
}

// RemoveIf removes image names, if allow has no objection: it is given all records
// that would go, and its error ends it before one does. What nothing else refers to
// is left to the engine's garbage collector, which sync waits for. An ID removes the
// image's name if it has just one. All names are looked up before the first is
// removed. What a kubelet knows an image by goes with the last other name, see
// companions. It returns the records that it removed, also on error.
func RemoveIf(ctx context.Context, c Finder, refs []string, sync bool, allow func(context.Context, []images.Image) error) ([]images.Image, error) {
	var records []images.Image
	for _, ref := range refs {
		img, err := findRecord(ctx, c, ref)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(records, func(r images.Image) bool { return r.Name == img.Name }) {
			records = append(records, img)
		}
	}
	stored, err := c.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	all := slices.Concat(records, companions(stored, records))
	if err := allow(ctx, all); err != nil {
		return nil, err
	}
	for i, img := range all {
		// Only what was looked up is removed, not what another process
		// gave the name to meanwhile.
		opts := []images.DeleteOpt{images.DeleteTarget(&img.Target)}
		if sync && i == len(all)-1 {
			opts = append(opts, images.SynchronousDelete())
		}
		err := c.ImageService().Delete(ctx, img.Name, opts...)
		if err != nil && (i < len(records) || !errdefs.IsNotFound(err)) {
			return records[:min(i, len(records))], fmt.Errorf("remove image %s: %w", img.Name, err)
		}
	}
	return records, nil
}

// findRecord is find for what removes a name, so an ID must have just one.
func findRecord(ctx context.Context, c Finder, ref string) (images.Image, error) {
	f, err := find(ctx, c, ref)
	if err != nil {
		return images.Image{}, err
	}
	parsed, err := ParseRef(ref)
	if err != nil {
		return images.Image{}, err
	}
	if f.record.Name == parsed.Name || f.record.Name == ref {
		return f.record, nil
	}
	all, err := c.ImageService().List(ctx)
	if err != nil {
		return images.Image{}, fmt.Errorf("list images: %w", err)
	}
	var names []string
	for _, img := range all {
		if img.Target.Digest == f.record.Target.Digest && !isAlias(img) && !accompanies(img, all) && (parsed.Repository() == "" || parsed.Repository() == repositoryOf(img.Name)) {
			names = append(names, img.Name)
		}
	}
	if len(names) > 1 {
		return images.Image{}, fmt.Errorf("remove image %s: it has %d names, remove them by name: %q: %w", ref, len(names), names, errdefs.ErrFailedPrecondition)
	}
	return f.record, nil
}
