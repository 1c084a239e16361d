package veneer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/differ"
	"github.com/veneer-build/veneer/engine"
)

// checkPlatforms finds what does not go with several platforms.
func (r *Request) checkPlatforms() error {
	if len(r.Platforms) == 0 {
		return nil
	}
	if r.Platform != "" {
		return errors.New("one platform and several were asked for; choose one of them")
	}
	if r.Differ == DifferService {
		return errors.New("--differ=service makes layers from unpacked snapshots, and of several platforms only the host's is unpacked; leave it out")
	}
	for _, t := range r.Targets {
		if t.Type == SourceTar && t.Source == "-" {
			return errors.New("standard input can be read only once, and there are several platforms: give the archive as a file")
		}
	}
	return nil
}

// buildPlatforms builds an image for each platform that is asked for, and an
// index of them. Each platform is a build of its own, under one lease; the
// index and the names come last.
func buildPlatforms(ctx context.Context, e *engine.Engine, req Request) (_ *Result, err error) {
	m := &platformsBuild{build: newBuild(e, req)}
	ctx, release, err := content.NewLease(e.Context(ctx), e.Client)
	if err != nil {
		return nil, err
	}
	defer func() {
		var opts []leases.DeleteOpt
		if err != nil {
			opts = append(opts, leases.SynchronousDelete)
		}
		err = errors.Join(err, release(ctx, opts...))
	}()
	m.steps.start("resolve")
	if err := m.resolve(ctx); err != nil {
		return nil, err
	}
	if m.plain {
		req.Platforms = nil
		return newBuild(e, req).run(ctx)
	}
	m.steps.stop()
	for _, p := range m.list {
		if err := m.one(ctx, p); err != nil {
			return nil, fmt.Errorf("build for %s: %w", content.FormatPlatform(p.spec), err)
		}
	}
	m.steps.mark = time.Now() // What was since is in the platforms' steps.
	m.steps.start("record")
	if err := m.record(ctx); err != nil {
		return nil, err
	}
	return m.finish(), nil
}

// platformsBuild is one run of buildPlatforms.
type platformsBuild struct {
	*build
	// index is the base's; nil for scratch. plain: the base is no index, and
	// all of its platforms, so its one, are asked for.
	index *ocispec.Descriptor
	name  string
	plain bool
	list  []platformBuild
}

// platformBuild is what one platform is built on.
type platformBuild struct {
	spec ocispec.Platform
	// entry is that of the base's index, and base its image; neither for scratch.
	entry ocispec.Descriptor
	base  *content.Image
	// host: this is the platform that gets a snapshot.
	host bool
}

// one builds for one platform, without a name.
func (m *platformsBuild) one(ctx context.Context, p platformBuild) error {
	req := m.Request
	name := content.FormatPlatform(p.spec)
	req.Platforms, req.Platform, req.Tags = nil, name, nil
	req.NoUnpack = req.NoUnpack || !p.host
	if m.Progress != nil {
		req.Progress = platformProgress{m.Progress, name}
	}
	b := newBuild(m.engine, req)
	b.unnamed, b.given = true, p.base
	res, err := b.run(ctx)
	if err != nil {
		return err
	}
	m.result.Manifests = append(m.result.Manifests, res)
	return nil
}

// platformProgress names the platform with each step, and leaves the end to
// the build as a whole.
type platformProgress struct {
	Progress
	platform string
}

func (p platformProgress) Step(s Step) {
	s.Platform = p.platform
	p.Progress.Step(s)
}

func (platformProgress) Done() {}

// record stores the index and then names it.
func (m *platformsBuild) record(ctx context.Context) error {
	r := &m.result
	if m.unchanged(ctx) {
		r.Unchanged = true
		r.Target = ocispec.Descriptor{MediaType: m.index.MediaType, Digest: m.index.Digest, Size: m.index.Size}
	} else if err := m.store(ctx); err != nil {
		return err
	}
	for _, name := range m.Tags {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := content.NameSources(ctx, m.engine.Client, name, r.Target); err != nil {
			return err
		}
		if _, err := content.Record(ctx, m.engine.Client, name, r.Target, nil); err != nil {
			return err
		}
	}
	return nil
}

// unchanged reports whether the result is the base's own index: every image of
// it was asked for, and none of them changed.
func (m *platformsBuild) unchanged(ctx context.Context) bool {
	if m.index == nil || slices.ContainsFunc(m.result.Manifests, func(r *Result) bool { return !r.Unchanged }) {
		return false
	}
	idx, err := content.ReadIndex(ctx, m.engine.Client.ContentStore(), *m.index)
	return err == nil && len(idx.Manifests) == len(m.list)
}

func (m *platformsBuild) store(ctx context.Context) error {
	a := content.IndexAssembly{Base: m.index, BaseName: m.name}
	for i, res := range m.result.Manifests {
		a.Entries = append(a.Entries, content.IndexEntry{Base: m.list[i].entry, Manifest: res.Target, Platform: m.list[i].spec})
	}
	desc, data, err := content.AssembleIndex(ctx, m.engine.Client.ContentStore(), a)
	if err != nil {
		return err
	}
	m.result.Target = desc
	return content.StoreIndex(ctx, m.engine.Client, desc, data)
}

// finish sums up what the platforms' builds say.
func (m *platformsBuild) finish() *Result {
	r := &m.result
	r.Digest, r.Names, r.Base = r.Target.Digest, m.Tags, m.name
	if m.index != nil {
		r.BaseDigest = m.index.Digest
	}
	r.Pushable = true
	var names []string
	for i, res := range r.Manifests {
		names = append(names, res.Platform)
		if m.list[i].host {
			r.ChainID, r.Unpacked = res.ChainID, res.Unpacked
		}
		r.Pushable = r.Pushable && res.Pushable
		r.Changes = addSummary(r.Changes, res.Changes)
		for _, n := range res.Notes {
			if !slices.Contains(r.Notes, n) {
				r.Notes = append(r.Notes, n)
			}
		}
		for _, w := range res.Warnings {
			r.Warnings = append(r.Warnings, res.Platform+": "+w)
		}
		for _, s := range res.Steps {
			s.Name, s.Platform = s.Name+" "+res.Platform, res.Platform
			r.Steps = append(r.Steps, s)
		}
	}
	r.Platform = strings.Join(names, ",")
	if len(m.Tags) == 0 && !r.Unchanged {
		r.Warnings = append(r.Warnings, warnUnnamed)
	}
	own, seconds := m.steps.end()
	r.Steps, r.Seconds = slices.Concat(own[:1], r.Steps, own[1:]), seconds
	return r
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
