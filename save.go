package veneer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/archive"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
)

// SaveRequest says what to put into an archive.
type SaveRequest struct {
	// Images are references as [content.Resolve] takes them. An image that is given
	// by its ID has no name in the archive.
	Images []string
	// Since are images that the reader has. Their layers are left out, and need not
	// be stored in this engine.
	Since []string
	// Platform chooses one platform of each image. Empty: all that are stored.
	Platform string
	// Progress is told of bytes that were written. nil: no reports.
	Progress Progress
}

// Saved tells what was written.
type Saved struct {
	archive.Exported
	Images   []SavedImage `json:"images"`
	Warnings []Notice     `json:"warnings,omitempty"`
}

// SavedImage is one image of an archive.
type SavedImage struct {
	Name   string        `json:"name,omitempty"`
	Digest digest.Digest `json:"digest"`
}

// Save writes images to w, see [archive.Export]. w may be nil: then nothing is written,
// and the result says what would be. A lease keeps the images from being removed
// meanwhile. After an error, what was written to w is incomplete.
func Save(ctx context.Context, e *engine.Engine, w io.Writer, req SaveRequest) (_ *Saved, err error) {
	steps := progress.New(req.Progress)
	steps.Begin(Step{Kind: "save", Of: strings.Join(req.Images, " ")})
	ctx, release, err := lease.New(e.Context(ctx), e.Client.LeasesService())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release(ctx)) }()
	saved := &Saved{}
	var items []archive.Item
	for _, ref := range req.Images {
		item, err := saveItem(ctx, e, ref, req.Platform)
		if err != nil {
			return nil, fmt.Errorf("save %s: %w", ref, err)
		}
		e, err := content.EncryptionOf(ctx, e.Client.ContentStore(), item.Target)
		if err != nil {
			return nil, fmt.Errorf("save %s: %w", ref, err)
		}
		if text := e.Warning(); text != "" {
			saved.Warnings = append(saved.Warnings, Notice{Text: ref + ": " + text})
		}
		items = append(items, item)
		saved.Images = append(saved.Images, SavedImage{Name: strings.Join(item.Names, ""), Digest: item.Target.Digest})
	}
	opts := archive.ExportOptions{Planned: func(bytes int64) { steps.Total(func() (int64, int64) { return 0, bytes }) }}
	for _, ref := range req.Since {
		record, err := content.Lookup(ctx, e.Client, ref)
		if err != nil {
			return nil, fmt.Errorf("save what %s lacks: %w", ref, err)
		}
		base, err := archive.NewBase(ctx, e.Client.ContentStore(), record.Name, record.Target)
		if err != nil {
			return nil, fmt.Errorf("save what %s lacks: %w", ref, err)
		}
		opts.Since = append(opts.Since, base)
	}
	if w != nil {
		w = steps.Writer(w)
	}
	done, err := writeArchive(ctx, e.Client.ContentStore(), w, items, opts)
	if err != nil {
		return nil, err
	}
	steps.End()
	saved.Exported = *done
	if len(req.Since) > 0 && done.Left == 0 {
		saved.Warnings = append(saved.Warnings, Notice{Text: fmt.Sprintf("no layer is left out, since %s shares none: the archive is a complete one", strings.Join(req.Since, " and "))})
	}
	return saved, nil
}

// writeArchive writes an archive, if there is a w.
func writeArchive(ctx context.Context, store cstore.Store, w io.Writer, items []archive.Item, opts archive.ExportOptions) (*archive.Exported, error) {
	if w == nil {
		return archive.Plan(ctx, store, items, opts)
	}
	return archive.Export(ctx, store, w, items, opts)
}

// saveItem finds an image and adds it to the lease in ctx.
func saveItem(ctx context.Context, e *engine.Engine, ref, platform string) (archive.Item, error) {
	record, err := content.Lookup(ctx, e.Client, ref)
	if err != nil {
		return archive.Item{}, err
	}
	parsed, err := content.ParseRef(ref)
	if err != nil {
		return archive.Item{}, err
	}
	item := archive.Item{Target: record.Target}
	named := record.Name == parsed.Name || record.Name == ref
	if named {
		item.Names = []string{record.Name}
	}
	// An ID may be that of a manifest or config below the record's target.
	if platform != "" || !named && !meansTarget(parsed, record) {
		img, err := content.Resolve(ctx, e.Client, ref, platform)
		if err != nil {
			return archive.Item{}, err
		}
		item.Target = img.Manifest
	}
	return item, holdTree(ctx, e, record, item)
}

func meansTarget(ref content.Ref, record images.Image) bool {
	d := record.Target.Digest
	return d == ref.Digest || ref.IDPrefix != "" && strings.HasPrefix(d.String(), "sha256:"+ref.IDPrefix)
}

// holdTree adds all stored platforms of an image to the lease in ctx.
func holdTree(ctx context.Context, e *engine.Engine, record images.Image, item archive.Item) error {
	store := e.Client.ContentStore()
	manifests := []ocispec.Descriptor{item.Target}
	if images.IsIndexType(item.Target.MediaType) {
		var err error
		if manifests, err = content.Manifests(ctx, store, item.Target); err != nil {
			return err
		}
	}
	for _, m := range manifests {
		img, err := content.ResolveTarget(ctx, store, m, "")
		if errdefs.IsNotFound(err) {
			continue // a platform that is not here, or Export says what is missing
		}
		if err != nil {
			return err
		}
		img.Name, img.Record = record.Name, record
		if err := content.Hold(ctx, e.Client, img); err != nil {
			return err
		}
	}
	return nil
}
