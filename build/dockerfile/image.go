package dockerfile

import (
	"context"
	"fmt"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build/graph"
	"github.com/veneer-build/veneer/content"
)

// Image makes and stores an image of the layers that the steps made. The image has
// no name yet.
func (o *Outcome) Image(ctx context.Context, annotations map[string]string) (*content.Image, error) {
	if !o.state.layered || o.state.on != nil {
		return nil, fmt.Errorf("make image: the steps' layers were not written")
	}
	created := o.created()
	c := content.Composition{
		ConfigJSON: o.ConfigJSON, Created: created, Docker: o.state.docker, Platform: o.Config.Platform, Missing: o.Base().Missing, Annotations: annotations,
		History: fitHistory(o.Config.History, len(o.below.History), o.state.layers, len(o.below.RootFS.DiffIDs), created),
	}
	for i, l := range o.state.layers {
		if l.DiffID != "" {
			if i >= o.belowLayers() && len(o.LayerAnnotations) > 0 {
				l.Desc.Annotations = o.LayerAnnotations
			}
			c.Layers, c.DiffIDs = append(c.Layers, l.Desc), append(c.DiffIDs, l.DiffID)
		}
	}
	img, err := content.Compose(c)
	if err != nil {
		return nil, err
	}
	return img, content.Store(ctx, o.s.client().ContentStore(), img, o.s.engine().Snapshotter)
}

// Base is the image whose layers are the lowest of the result's. It is empty if there
// is none.
func (o *Outcome) Base() *content.Image {
	if o.state.base == nil {
		return &content.Image{}
	}
	return o.state.base
}

// created is the time of the last step. So a build whose steps are all cached makes
// the same image again.
func (o *Outcome) created() time.Time {
	switch {
	case o.s.Layers.Epoch != nil:
		return *o.s.Layers.Epoch
	case o.state.made != 0:
		return time.Unix(o.state.made, 0)
	case o.below.Created != nil:
		return *o.below.Created
	}
	return o.s.began
}

// fitHistory makes the number of layers in a history match the real number,
// separately for the base's part and for the new part. As in BuildKit, missing
// entries are added, and surplus ones are marked as having no layer. So are entries
// of steps that changed nothing. New entries get the time of the image.
func fitHistory(all []ocispec.History, base int, layers []graph.Layer, baseLayers int, created time.Time) []ocispec.History {
	base, baseLayers = min(base, len(all)), min(baseLayers, len(layers))
	out := fit(all[:base], layers[:baseLayers])
	began := len(out)
	out = append(out, fit(all[base:], layers[baseLayers:])...)
	for i := range out[began:] {
		h := &out[began+i]
		if h.Created == nil || h.Created.After(created) {
			at := created.UTC()
			h.Created = &at
		}
	}
	return out
}

func fit(entries []ocispec.History, layers []graph.Layer) []ocispec.History {
	out := make([]ocispec.History, 0, len(entries))
	for _, h := range entries {
		if !h.EmptyLayer {
			if h.EmptyLayer = len(layers) == 0 || layers[0].DiffID == ""; len(layers) > 0 {
				layers = layers[1:]
			}
		}
		out = append(out, h)
	}
	for _, l := range layers {
		if l.DiffID != "" {
			out = append(out, ocispec.History{Comment: "layer without history"})
		}
	}
	return out
}
