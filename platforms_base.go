package veneer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/snapshot"
)

// resolve finds the base's manifests of the platforms, and makes sure that
// they can be built upon.
func (m *platformsBuild) resolve(ctx context.Context) error {
	if m.Base == content.ScratchName {
		return m.scratch()
	}
	record, err := content.Lookup(ctx, m.engine.Client, m.Base)
	if err != nil {
		return err
	}
	m.name, m.index = record.Name, &record.Target
	if !images.IsIndexType(record.Target.MediaType) {
		if slices.Equal(m.Platforms, []string{content.AllPlatforms}) {
			m.plain = true
			return nil
		}
		return fmt.Errorf("resolve %s: it is an image of one platform, with no others to choose from; build with that one --platform, or on an image that has several: %w", record.Name, errdefs.ErrInvalidArgument)
	}
	store := m.engine.Client.ContentStore()
	descs, err := content.SelectManifests(ctx, store, record.Target, m.Platforms)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", record.Name, err)
	}
	var absent []string
	for _, d := range descs {
		img, err := content.ResolveTarget(ctx, store, d, "")
		switch {
		case errdefs.IsNotFound(err):
			absent = append(absent, platformName(d))
			continue
		case err != nil:
			return fmt.Errorf("resolve %s for %s: %w", record.Name, platformName(d), err)
		}
		img.Name, img.Record = record.Name, record
		m.list = append(m.list, platformBuild{spec: img.Platform, entry: d, base: img})
		if whole, err := m.whole(ctx, img); err != nil {
			return err
		} else if !whole {
			absent = append(absent, content.FormatPlatform(img.Platform))
		}
	}
	if len(absent) > 0 {
		return fmt.Errorf("resolve %s: the content of %s is not in this engine; get it with veneer pull --all-platforms %s: %w", record.Name, strings.Join(absent, ", "), record.Name, errdefs.ErrNotFound)
	}
	m.chooseHost()
	return nil
}

func platformName(d ocispec.Descriptor) string {
	if d.Platform == nil {
		return d.Digest.String()
	}
	return content.FormatPlatform(*d.Platform)
}

// whole reports whether an image's files can be read: its layers are here, or
// its snapshot is.
func (m *platformsBuild) whole(ctx context.Context, img *content.Image) (bool, error) {
	if len(img.Missing) == 0 {
		return true, nil
	}
	sn := m.engine.Client.SnapshotService(m.engine.Snapshotter)
	if sn == nil {
		return false, nil
	}
	return snapshot.Exists(ctx, sn, img.ChainID.String())
}

// scratch takes the platforms as they are asked for.
func (m *platformsBuild) scratch() error {
	for _, name := range m.Platforms {
		p, err := platforms.Parse(name)
		if err != nil {
			return fmt.Errorf("platform %q: scratch has no platforms of its own, so name each, as in linux/arm64: %w", name, errdefs.ErrInvalidArgument)
		}
		if !slices.ContainsFunc(m.list, func(o platformBuild) bool { return content.FormatPlatform(o.spec) == content.FormatPlatform(p) }) {
			m.list = append(m.list, platformBuild{spec: p})
		}
	}
	m.name = content.ScratchName
	m.chooseHost()
	return nil
}

// chooseHost marks the platform that fits this machine best, if any does.
func (m *platformsBuild) chooseHost() {
	host := platforms.Only(platforms.DefaultSpec())
	best := -1
	for i, p := range m.list {
		if host.Match(p.spec) && (best < 0 || host.Less(p.spec, m.list[best].spec)) {
			best = i
		}
	}
	if best >= 0 {
		m.list[best].host = true
	}
}
