package veneer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/fault"
	"github.com/veneer-build/veneer/internal/progress"
)

// checkPlatforms returns an error if a field does not work with several platforms.
func (r BuildRequest) checkPlatforms() error {
	if len(r.Platforms) == 0 {
		return nil
	}
	if r.Platform != "" {
		return errors.New("one platform and several were asked for; choose one of them")
	}
	if r.Differ == DifferService {
		return fault.Mark(ErrService, errors.New("containerd's diff service makes layers from unpacked snapshots, and of several platforms only the host's is unpacked"))
	}
	for _, t := range r.Targets {
		if t.Type == SourceTar && t.Source == "-" {
			return errors.New("standard input can be read only once, and there are several platforms: give the archive as a file")
		}
	}
	return nil
}

// buildPlatforms builds an image for each platform, and an index of all of them.
// Each platform is a build of its own, and an outer lease holds all results. The
// index and the names come last.
func buildPlatforms(ctx context.Context, e *engine.Engine, req BuildRequest) (res *Result, err error) {
	o := build.Options{Steps: progress.New(req.Progress), Log: req.Log}
	plain := false
	err = build.Run(ctx, e, o, func(ctx context.Context, s *build.Session) (err error) {
		base, err := findPlatforms(ctx, s, req)
		if plain = errors.Is(err, errPlain); err != nil {
			return err
		}
		images := make([]*Result, len(base.list))
		s.Steps.Stop()
		for i, p := range base.list {
			if images[i], err = req.buildPlatform(ctx, e, p); err != nil {
				return fmt.Errorf("build for %s: %w", content.FormatPlatform(p.image.Platform), err)
			}
		}
		s.Steps.Skip() // The platforms' own steps have this time.
		s.Steps.Start("record")
		if res, err = base.index(ctx, s, images); err != nil {
			return err
		}
		return req.record(ctx, s, res.Target)
	})
	if plain {
		req.Platforms = nil
		return Build(ctx, e, req)
	}
	if err != nil {
		return nil, err
	}
	res.Names = req.Tags
	if len(req.Tags) == 0 && !res.Unchanged {
		res.Warnings = append(res.Warnings, fault.NoticeOf(ErrUnnamed))
	}
	own, seconds := o.Steps.End()
	res.Steps, res.Seconds = slices.Concat(own[:1], res.Steps, own[1:]), seconds
	return res, nil
}

// buildPlatform builds for one platform, without a name.
func (r BuildRequest) buildPlatform(ctx context.Context, e *engine.Engine, p platformBase) (*Result, error) {
	name := content.FormatPlatform(p.image.Platform)
	r.Platforms, r.Platform, r.Tags = nil, name, nil
	r.NoUnpack = r.NoUnpack || !p.host
	if r.Progress != nil {
		r.Progress = platformProgress{r.Progress, name}
	}
	return run(ctx, e, r.session(), r.Reports, func(ctx context.Context, s *build.Session) (*Result, error) {
		s.Steps.Start("resolve")
		if err := s.Adopt(ctx, p.image); err != nil {
			return nil, err
		}
		return r.buildOn(ctx, s, p.image, true)
	})
}

// platformProgress adds the platform to each step. It does not report the end of one
// platform's build as the end of the whole.
type platformProgress struct {
	Progress
	platform string
}

func (p platformProgress) Step(s Step) {
	s.Platform = p.platform
	p.Progress.Step(s)
}

// Total implements [TotalProgress].
func (p platformProgress) Total(files, bytes int64) {
	if t, ok := p.Progress.(TotalProgress); ok {
		t.Total(files, bytes)
	}
}

// About implements [TotalProgress].
func (p platformProgress) About(files, bytes int64) {
	if t, ok := p.Progress.(TotalProgress); ok {
		t.About(files, bytes)
	}
}

func (platformProgress) Done() {}

// index stores the index of the platforms' images, and sums up their results.
func (b platformsBase) index(ctx context.Context, s *build.Session, images []*Result) (*Result, error) {
	host := slices.IndexFunc(b.list, func(p platformBase) bool { return p.host })
	r := sumUp(images, host)
	r.Base = b.name
	if b.target != nil {
		r.BaseDigest = b.target.Digest
	}
	var err error
	if r.Unchanged = b.unchanged(ctx, s, images); r.Unchanged {
		r.Target = ocispec.Descriptor{MediaType: b.target.MediaType, Digest: b.target.Digest, Size: b.target.Size}
	} else {
		r.Target, err = b.store(ctx, s, images)
	}
	r.Digest = r.Target.Digest
	return r, err
}

// sumUp is the result of all platforms' images but for what the index is. host is
// which of them is this machine's; -1: none.
func sumUp(images []*Result, host int) *Result {
	r := &Result{Manifests: images, Pushable: true}
	var names []string
	for i, img := range images {
		names = append(names, img.Platform)
		if i == host {
			r.ChainID, r.Unpacked = img.ChainID, img.Unpacked
		}
		r.Pushable = r.Pushable && img.Pushable
		r.Changes = addSummary(r.Changes, img.Changes)
		for _, n := range img.Notes {
			if !slices.ContainsFunc(r.Notes, func(have Notice) bool { return have.Text == n.Text }) {
				r.Notes = append(r.Notes, n)
			}
		}
		for _, w := range img.Warnings {
			r.Warnings = append(r.Warnings, Notice{Text: img.Platform + ": " + w.Text, Cause: w.Cause})
		}
		for _, s := range img.Steps {
			s.Name, s.Platform = s.Name+" "+img.Platform, img.Platform
			r.Steps = append(r.Steps, s)
		}
	}
	r.Platform = strings.Join(names, ",")
	return r
}

// unchanged reports whether the result is the base's own index. It is, if all of its
// images were asked for and none of them changed.
func (b platformsBase) unchanged(ctx context.Context, s *build.Session, images []*Result) bool {
	if b.target == nil || slices.ContainsFunc(images, func(r *Result) bool { return !r.Unchanged }) {
		return false
	}
	idx, err := content.ReadIndex(ctx, s.Engine.Client.ContentStore(), *b.target)
	return err == nil && len(idx.Manifests) == len(b.list)
}

func (b platformsBase) store(ctx context.Context, s *build.Session, images []*Result) (ocispec.Descriptor, error) {
	a := content.IndexAssembly{Base: b.target, BaseName: b.name}
	for i, img := range images {
		a.Entries = append(a.Entries, content.IndexEntry{Base: b.list[i].entry, Manifest: img.Target, Platform: b.list[i].image.Platform})
	}
	return storeIndex(ctx, s, a)
}

func storeIndex(ctx context.Context, s *build.Session, a content.IndexAssembly) (ocispec.Descriptor, error) {
	desc, data, err := content.AssembleIndex(ctx, s.Engine.Client.ContentStore(), a)
	if err != nil {
		return desc, err
	}
	return desc, content.StoreIndex(ctx, s.Engine.Client.ContentStore(), desc, data)
}

func addSummary(a, b differ.Summary) differ.Summary {
	for _, t := range []struct{ to, add *differ.Tally }{
		{&a.Added, &b.Added},
		{&a.Modified, &b.Modified},
		{&a.Deleted, &b.Deleted},
		{&a.MetadataOnly, &b.MetadataOnly},
		{&a.Looked, &b.Looked},
	} {
		t.to.Count += t.add.Count
		t.to.Bytes += t.add.Bytes
	}
	return a
}
