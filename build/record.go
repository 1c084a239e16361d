package build

import (
	"context"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// Parts are what an image is assembled of. Base and ConfigJSON are required.
type Parts struct {
	// Base is the image that the layer is built upon.
	Base *content.Image
	// On is the image that annotations name as the base. nil: no annotations.
	On *content.Image
	// Layer is the new layer. nil: no new layer.
	Layer *Layer
	// ConfigJSON is the new image's config, but with the base's root file system and
	// history. Assemble adds the layer to both.
	ConfigJSON []byte
	// History is the entry for the layer. Assemble sets its time.
	History ocispec.History
	// Epoch is the image's time of creation; nil: now.
	Epoch       *time.Time
	Annotations map[string]string
	// Unpacked: the image has a snapshot. A label on its config keeps that.
	Unpacked bool
}

// Assemble makes the config and the manifest, and stores both. Nothing but the
// session's lease keeps the image until [Session.Record] names it.
func (s *Session) Assemble(ctx context.Context, p Parts) (*content.Image, error) {
	s.Steps.Start("record")
	a := content.Assembly{
		Base: p.Base, ConfigJSON: p.ConfigJSON, History: p.History, Annotations: p.Annotations, Created: time.Now().UTC(),
	}
	if p.Epoch != nil {
		a.Created = p.Epoch.UTC()
	}
	if p.Layer != nil {
		a.Layer, a.DiffID = &p.Layer.Desc, p.Layer.DiffID
	}
	if p.On != nil {
		a.BaseName, a.BaseDigest = p.On.Record.Name, p.On.Manifest.Digest
	}
	img, err := content.Assemble(a)
	if err != nil {
		return nil, err
	}
	snapshotter := ""
	if p.Unpacked {
		snapshotter = s.Engine.Snapshotter
	}
	return img, content.Store(ctx, s.Engine.Client.ContentStore(), img, snapshotter)
}

// KeepIndex puts the index of a new layer into the cache, if one was made.
func (s *Session) KeepIndex(ctx context.Context, base *content.Image, l *Layer) {
	if l != nil && l.index != nil {
		s.Roots.Of(base, "base").KeepIndex(ctx, l.Desc.Digest, l.index)
	}
}

// Record gives a stored image or index its names, each with the labels, see
// [content.RecordImage]. It comes last, so that a name never points at something
// incomplete.
func (s *Session) Record(ctx context.Context, target ocispec.Descriptor, names []string, labels map[string]string) error {
	s.Steps.Start("record")
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := content.NameSources(ctx, s.Engine.Client.ContentStore(), name, target); err != nil {
			return err
		}
		if _, err := content.RecordImage(ctx, s.Engine.Client, images.Image{Name: name, Target: target, Labels: labels}); err != nil {
			return err
		}
	}
	return nil
}
