package veneer

import (
	"context"
	"fmt"
	"strings"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/target"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/internal/progress"
)

// buildOn builds on a base that was found and is held by the session's lease.
// nameless: the result gets no name on purpose.
func (r BuildRequest) buildOn(ctx context.Context, s *build.Session, base *content.Image, nameless bool) (*Result, error) {
	specs, err := target.Expand(r.Targets, base.Platform)
	if err != nil {
		return nil, err
	}
	config, edits, err := r.Config.Apply(base.ConfigJSON)
	if err != nil {
		return nil, err
	}
	diff, err := r.compare(ctx, s, base, specs, r.ReadOptions)
	if err != nil {
		return nil, err
	}
	if diff, err = s.Flatten(ctx, diff, r.MaxLayers); err != nil {
		return nil, err
	}
	m := making{
		LayerOptions: r.LayerOptions, ImageOptions: r.ImageOptions, service: r.Differ == DifferService,
		from: base, configJSON: config, done: append(describeTargets(specs), edits...), nameless: nameless,
		since: r.since,
	}
	res, err := m.make(ctx, s, diff)
	if err != nil {
		return nil, err
	}
	res.Notes = archiveNotes(specs)
	return res, nil
}

// compare applies the targets to the base's files.
func (o TargetOptions) compare(ctx context.Context, s *build.Session, base *content.Image, specs []TargetSpec, read ReadOptions) (*build.Diff, error) {
	if len(specs) == 0 {
		s.Steps.Start(progress.Compare)
		return build.Same(base), nil
	}
	return s.Compare(ctx, build.Files(base, "base"), &build.Targets{
		Specs: specs, Platform: read.Platform, Compare: o.Compare, ForceDelete: o.ForceDelete, Stdin: o.Stdin,
	}, read.Reader)
}

// describeTargets describes targets for the image's history.
func describeTargets(specs []TargetSpec) []string {
	var parts []string
	for _, t := range specs {
		parts = append(parts, fmt.Sprintf("%s %s", strings.ToUpper(t.Op.String()), t.Dest))
	}
	return parts
}
