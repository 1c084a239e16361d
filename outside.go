package veneer

import (
	"context"
	"strings"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
)

// RegistryRef returns the name of an image that is to be read from its registry:
// what follows docker://, or registry: where that cannot be the image "registry" with
// a tag.
func RegistryRef(text string) (name string, ok bool) {
	if name, ok := strings.CutPrefix(text, "docker://"); ok {
		return name, name != ""
	}
	name, ok = strings.CutPrefix(text, "registry:")
	return name, ok && strings.ContainsAny(name, "/:@")
}

// InspectOutside finds an image that is in no engine: an [ArchiveRef], or what
// [RegistryRef] takes. Of a registry it fetches no layers. e has room for what is
// read, and keeps nothing of it: see [OpenTemporary]. Platform is as in [Inspect].
func InspectOutside(ctx context.Context, e *engine.Engine, ref, platform string, opts RegistryOptions) (img *Image, err error) {
	if name, ok := RegistryRef(ref); ok {
		opts.Platform = platform
		return registry.Documents(e.Context(ctx), e.Client, name, opts)
	}
	err = build.Run(ctx, e, build.Options{NoCache: true, AllowEncrypted: true, Steps: progress.New(nil)}, func(ctx context.Context, s *build.Session) error {
		img, err = s.Image(ctx, ref, platform)
		return err
	})
	return img, err
}
