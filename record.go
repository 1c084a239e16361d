package veneer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// record stores config and manifest, and then names them.
func (b *build) record(ctx context.Context) error {
	target := b.base.Manifest
	if b.unchanged() {
		b.result.Unchanged = true
		b.image.ChainID = b.base.ChainID
	} else {
		if err := b.assemble(ctx); err != nil {
			return err
		}
		target = b.image.Manifest
	}
	// The record's descriptor stands alone: what an index said of it stays there.
	b.result.Target = ocispec.Descriptor{MediaType: target.MediaType, Digest: target.Digest, Size: target.Size}
	if b.blob != nil && b.blob.Index != nil {
		b.rootfs(b.base, "base").keepIndex(ctx, b.desc.Digest, b.blob.Index.Encode)
	}
	b.keepMemories(ctx)
	if err := b.pushable(ctx); err != nil {
		return err
	}
	if b.export != nil {
		return nil
	}
	for _, name := range b.Tags {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := content.NameSources(ctx, b.engine.Client, name, b.result.Target); err != nil {
			return err
		}
		if _, err := content.Record(ctx, b.engine.Client, name, b.result.Target, nil); err != nil {
			return err
		}
	}
	return nil
}

// pushable says where the result can be pushed to: where the base came from, if
// layers of that are not stored here.
func (b *build) pushable(ctx context.Context) error {
	count := len(b.base.Missing)
	if count == 0 {
		b.result.Pushable = true
		return nil
	}
	sources, err := content.MissingSources(ctx, b.engine.Client, b.base.Missing)
	if err != nil {
		return err
	}
	can := "cannot be pushed or saved"
	if hosts := content.SourceHosts(sources); len(hosts) > 0 {
		b.result.Pushable = true
		can = fmt.Sprintf("can be pushed to %s, where its base came from, and to no other registry, and cannot be saved", strings.Join(hosts, ", "))
	}
	b.result.Warnings = append(b.result.Warnings, fmt.Sprintf("the image %s: %d layer blobs of the base are not stored; pull %s again to get them", can, count, b.base.Name))
	return nil
}

// unchanged reports whether the new image is the base itself.
func (b *build) unchanged() bool {
	return b.desc == nil && b.settings == nil && b.squashed == 0 && b.Config.IsZero() && len(b.Annotations) == 0 && !b.base.IsScratch()
}

func (b *build) assemble(ctx context.Context) error {
	created := time.Now().UTC()
	if b.Epoch != nil {
		created = b.Epoch.UTC()
	}
	a := content.Assembly{
		Base: b.base, ConfigJSON: b.configJSON, Layer: b.desc, DiffID: b.diffID,
		History:     ocispec.History{CreatedBy: b.describe(), Comment: b.Config.Message, Author: b.Config.Author},
		Created:     created,
		Annotations: b.Annotations,
	}
	if on := b.basedOn(); on != nil {
		a.BaseName, a.BaseDigest = on.Record.Name, on.Manifest.Digest
	}
	var err error
	if b.image, err = content.Assemble(a); err != nil {
		return err
	}
	snapshotter := ""
	if b.unpacked {
		snapshotter = b.engine.Snapshotter
	}
	return content.Store(ctx, b.engine.Client, b.image, snapshotter)
}

// basedOn is the image whose layers are the lower ones of the result; nil where
// no image is known to have just those.
func (b *build) basedOn() *content.Image {
	switch {
	case b.squashed > 0:
		return b.origin
	case b.base.IsScratch():
		return nil
	}
	return b.base
}

// describe is the history entry's created_by. It names destinations only:
// paths of this host are nobody else's business, and would make the same
// files another image.
func (b *build) describe() string {
	parts := []string{"veneer"}
	if b.verb != "" {
		parts[0] += " " + b.verb
	}
	if b.squashed > 0 {
		parts = append(parts, fmt.Sprintf("SQUASH %d layers", b.squashed))
	}
	if b.verb != "" {
		return strings.Join(append(parts, b.createdBy...), "; ")
	}
	for _, t := range b.Targets {
		parts = append(parts, fmt.Sprintf("%s %s", strings.ToUpper(t.Op.String()), t.Dest))
	}
	return strings.Join(append(parts, b.createdBy...), "; ")
}

// warnUnnamed tells what becomes of a result without a name.
const warnUnnamed = "the image has no name and goes with the next garbage collection; use -t NAME to keep it"

// finish fills the result from what the steps left; the times follow at the end.
func (b *build) finish() *Result {
	r := &b.result
	r.Digest, r.Names = r.Target.Digest, b.Tags
	r.Base, r.BaseDigest, r.Squashed = b.from.Name, b.from.Manifest.Digest, b.squashed
	r.Platform = platforms.FormatAll(b.base.Platform)
	r.ChainID, r.Unpacked = b.image.ChainID, b.unpacked
	// What is the base's own manifest stays for as long as the base.
	if len(b.Tags) == 0 && !b.unnamed && b.export == nil && !r.Unchanged {
		r.Warnings = append(r.Warnings, warnUnnamed)
	}
	r.Notes = append(r.Notes, archiveNotes(b.Targets)...)
	if b.desc != nil {
		r.Layer = &LayerResult{Digest: b.desc.Digest, DiffID: b.diffID, MediaType: b.desc.MediaType, Size: b.desc.Size}
		if b.blob != nil {
			r.Layer.UncompressedSize = b.blob.UncompressedSize
		}
	}
	return r
}
