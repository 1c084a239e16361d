package veneer

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/internal/words"
)

// run calls do with a session, and adds warnings and times to its result.
func run(ctx context.Context, e *engine.Engine, o build.Options, r Reports, do func(context.Context, *build.Session) (*Result, error)) (*Result, error) {
	o.Steps, o.Log = progress.New(r.Progress), r.Log
	var res *Result
	err := build.Run(ctx, e, o, func(ctx context.Context, s *build.Session) (err error) {
		if res, err = do(ctx, s); err == nil {
			res.Warnings = s.Warnings.All()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	res.Steps, res.Seconds = o.Steps.End()
	return res, nil
}

// making says how a difference becomes an image.
type making struct {
	LayerOptions
	ImageOptions
	// from is the base that the request names. The layer may lie on another image,
	// with fewer layers.
	from *content.Image
	// configJSON is the new image's config. own: it comes from another image than
	// from.
	configJSON []byte
	own        bool
	// verb begins the history entry, as in "veneer COMMIT"; done says more.
	verb string
	done []string
	// service has containerd's diff service make the layer.
	service bool
	// nameless: the result gets no name on purpose, so there is no warning.
	nameless bool
	// since is what was made before. If it is the same, no image is made.
	since made
}

// make does all that follows a comparison: it makes the layer, the snapshot and the
// image, and records the names.
func (m making) make(ctx context.Context, s *build.Session, d *build.Diff) (*Result, error) {
	res := &Result{Names: m.Tags, Base: m.from.Name, BaseDigest: m.from.Manifest.Digest, Squashed: d.Squashed, Changes: d.Summary()}
	o := m.layer()
	o.Service, o.Snapshot = m.service, !m.NoUnpack
	layer, err := s.Layer(ctx, d, o)
	if err != nil {
		return nil, err
	}
	if res.made = madeOf(d, layer); res.made == m.since {
		return &Result{same: true}, nil
	}
	if m.NoUnpack {
		s.Steps.Start("snapshot")
	} else if res.Unpacked, err = s.Snapshot(ctx, d.Base, layer); err != nil {
		return nil, err
	}
	img, err := m.assemble(ctx, s, d, layer, res)
	if err != nil {
		return nil, err
	}
	s.KeepIndex(ctx, d.Base, layer)
	s.Remember(ctx)
	// Only these three fields: the others are what an index says about the image.
	res.Target = ocispec.Descriptor{MediaType: img.Manifest.MediaType, Digest: img.Manifest.Digest, Size: img.Manifest.Size}
	res.Digest, res.ChainID, res.Platform = res.Target.Digest, img.ChainID, platforms.FormatAll(d.Base.Platform)
	res.Layer = layerResult(layer)
	if err := m.tell(ctx, s, d, res); err != nil {
		return nil, err
	}
	return res, m.record(ctx, s, res.Target)
}

// assemble returns the new image. If nothing is new, that is the base itself.
func (m making) assemble(ctx context.Context, s *build.Session, d *build.Diff, layer *build.Layer, res *Result) (*content.Image, error) {
	if layer == nil && !m.own && d.Squashed == 0 && m.Config.IsZero() && len(m.Annotations) == 0 && !d.Base.IsScratch() {
		s.Steps.Start("record")
		res.Unchanged = true
		return d.Base, nil
	}
	config := m.configJSON
	if d.Squashed > 0 {
		var err error
		if config, err = content.Transplant(config, d.Base); err != nil {
			return nil, err
		}
	}
	return s.Assemble(ctx, build.Parts{
		Base: d.Base, On: basedOn(d), Layer: layer, ConfigJSON: config, Epoch: m.Epoch, Annotations: m.Annotations, Unpacked: res.Unpacked,
		History: ocispec.History{CreatedBy: m.describe(d), Comment: m.Config.Message, Author: m.Config.Author},
	})
}

// basedOn returns the image whose layers are the lower layers of the result. It is
// nil if no such image is known.
func basedOn(d *build.Diff) *content.Image {
	switch {
	case d.Squashed > 0:
		return d.Origin
	case d.Base.IsScratch():
		return nil
	}
	return d.Base
}

// describe returns the history entry's created_by. It names destinations only.
// Paths on this host are private, and with them the same files would not always
// give the same image.
func (m making) describe(d *build.Diff) string {
	parts := []string{strings.TrimSpace("veneer " + m.verb)}
	if d.Squashed > 0 {
		parts = append(parts, fmt.Sprintf("SQUASH %d layers", d.Squashed))
	}
	return strings.Join(append(parts, m.done...), "; ")
}

// tell adds warnings about the result: that it has no name, and where it can be
// pushed if layers of the base are not stored.
func (m making) tell(ctx context.Context, s *build.Session, d *build.Diff, res *Result) error {
	// An unchanged image is the base's own, and the base's name keeps it.
	if len(m.Tags) == 0 && !m.nameless && !res.Unchanged {
		s.Warnings.AddError(ErrUnnamed)
	}
	res.Pushable = len(d.Base.Missing) == 0
	if res.Pushable {
		return nil
	}
	sources, err := content.MissingSources(ctx, s.Engine.Client, d.Base.Missing)
	if err != nil {
		return err
	}
	can := "cannot be pushed or saved"
	if hosts := content.SourceHosts(sources); len(hosts) > 0 {
		res.Pushable = true
		can = fmt.Sprintf("can be pushed to %s, where its base came from, and to no other registry, and cannot be saved", strings.Join(hosts, ", "))
	}
	n := len(d.Base.Missing)
	s.Warnings.Add(fmt.Sprintf("the image %s: %s of the base %s not stored; pull %s again to get %s",
		can, words.Count(n, "layer blob", "layer blobs"), words.Pick(n, "is", "are"), d.Base.Name, words.Pick(n, "it", "them")))
	return nil
}

func layerResult(l *build.Layer) *LayerResult {
	if l == nil {
		return nil
	}
	return &LayerResult{Digest: l.Desc.Digest, DiffID: l.DiffID, MediaType: l.Desc.MediaType, Size: l.Desc.Size, UncompressedSize: l.UncompressedSize}
}

// record gives the result its names, last of all.
func (o ImageOptions) record(ctx context.Context, s *build.Session, target ocispec.Descriptor) error {
	var labels map[string]string
	if o.Pin {
		labels = content.PinLabels()
	}
	return s.Record(ctx, target, o.Tags, labels)
}
