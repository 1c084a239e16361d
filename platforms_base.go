package veneer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/snapshot"
)

// platformsBase is the base of a build for several platforms.
type platformsBase struct {
	name string
	// target is the base's index; nil for scratch.
	target *ocispec.Descriptor
	list   []platformBase
}

// platformBase is one platform's base.
type platformBase struct {
	// entry is the platform's entry in the base's index; zero for scratch.
	entry ocispec.Descriptor
	image *content.Image
	// host: this platform fits the host, and is unpacked.
	host bool
}

// errPlain means that all platforms are asked for of a base that has one, and is
// no index: it is built upon as ever.
var errPlain = errors.New("the base has one platform")

// findPlatforms finds the base's image for each platform, and checks that its files
// can be read.
func findPlatforms(ctx context.Context, s *build.Session, req BuildRequest) (platformsBase, error) {
	s.Steps.Start("resolve")
	if req.Base == content.ScratchName {
		return scratchPlatforms(req.Platforms)
	}
	record, err := content.Lookup(ctx, s.Engine.Client, req.Base)
	if err != nil {
		return platformsBase{}, err
	}
	if !images.IsIndexType(record.Target.MediaType) {
		if slices.Equal(req.Platforms, []string{content.AllPlatforms}) {
			return platformsBase{}, errPlain
		}
		return platformsBase{}, &Error{Kind: ErrOnePlatform, Op: "resolve", Ref: record.Name, Err: fmt.Errorf("%w: %w", ErrOnePlatform, errdefs.ErrInvalidArgument)}
	}
	store := s.Engine.Client.ContentStore()
	descs, err := content.SelectManifests(ctx, store, record.Target, req.Platforms)
	if err != nil {
		return platformsBase{}, fmt.Errorf("resolve %s: %w", record.Name, err)
	}
	base := platformsBase{name: record.Name, target: &record.Target}
	var absent []string
	for _, d := range descs {
		img, err := content.ResolveTarget(ctx, store, d, "")
		switch {
		case errdefs.IsNotFound(err):
			absent = append(absent, platformName(d))
			continue
		case err != nil:
			return base, fmt.Errorf("resolve %s for %s: %w", record.Name, platformName(d), err)
		}
		img.Name, img.Record = record.Name, record
		base.list = append(base.list, platformBase{entry: d, image: img})
		if ok, err := whole(ctx, s, img); err != nil {
			return base, err
		} else if !ok {
			absent = append(absent, content.FormatPlatform(img.Platform))
		}
	}
	if len(absent) > 0 {
		return base, &Error{Kind: ErrPlatformAbsent, Op: "resolve", Ref: record.Name, Err: fmt.Errorf("the content of %s is not in this engine: %w", strings.Join(absent, ", "), errdefs.ErrNotFound)}
	}
	base.chooseHost()
	return base, nil
}

func platformName(d ocispec.Descriptor) string {
	if d.Platform == nil {
		return d.Digest.String()
	}
	return content.FormatPlatform(*d.Platform)
}

// whole reports whether an image's files can be read: from its layers, or from its
// snapshot.
func whole(ctx context.Context, s *build.Session, img *content.Image) (bool, error) {
	if len(img.Missing) == 0 {
		return true, nil
	}
	sn := s.Engine.Client.SnapshotService(s.Engine.Snapshotter)
	if sn == nil {
		return false, nil
	}
	return snapshot.Exists(ctx, sn, img.ChainID.String())
}

// scratchPlatforms makes an empty base for each platform that is asked for.
func scratchPlatforms(names []string) (platformsBase, error) {
	base := platformsBase{name: content.ScratchName}
	for _, name := range names {
		p, err := platforms.Parse(name)
		if err != nil {
			return base, fmt.Errorf("platform %q: scratch has no platforms of its own, so name each, as in linux/arm64: %w", name, errdefs.ErrInvalidArgument)
		}
		if !slices.ContainsFunc(base.list, func(o platformBase) bool {
			return content.FormatPlatform(o.image.Platform) == content.FormatPlatform(p)
		}) {
			base.list = append(base.list, platformBase{image: content.Scratch(p)})
		}
	}
	base.chooseHost()
	return base, nil
}

// chooseHost marks the platform that fits this machine best, if any does.
func (b *platformsBase) chooseHost() {
	var list []ocispec.Platform
	for _, p := range b.list {
		list = append(list, p.image.Platform)
	}
	if best := hostOf(list); best >= 0 {
		b.list[best].host = true
	}
}

// hostOf is which of the platforms fits this machine best; -1: none does.
func hostOf(list []ocispec.Platform) int {
	host := platforms.Only(platforms.DefaultSpec())
	best := -1
	for i, p := range list {
		if host.Match(p) && (best < 0 || host.Less(p, list[best])) {
			best = i
		}
	}
	return best
}
