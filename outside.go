package veneer

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/engine"
	"github.com/veneer-build/veneer/internal/progress"
	"github.com/veneer-build/veneer/verify"
)

// RegistryRef returns the name of an image that is to be read from its registry:
// what follows docker://, or registry: where that cannot be the image "registry" with
// a tag, or with a tag and a digest.
func RegistryRef(text string) (name string, ok bool) {
	if name, ok := strings.CutPrefix(text, "docker://"); ok {
		return name, name != ""
	}
	name, ok = strings.CutPrefix(text, "registry:")
	before, _, _ := strings.Cut(name, "@") // A digest has a colon, and may follow a tag.
	return name, ok && strings.ContainsAny(before, "/:")
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

// VerifyOutside is [Verify] for an image that is in no engine, as [InspectOutside]
// takes it. It verifies all but what an engine adds: labels and snapshots. Of a
// registry each blob is streamed and none but the documents is stored, for the
// host's platform unless the request or the options say otherwise. An archive is
// stored in e as a whole.
func VerifyOutside(ctx context.Context, e *engine.Engine, req VerifyRequest, opts RegistryOptions) (res *VerifyResult, err error) {
	err = build.Run(ctx, e, build.Options{NoCache: true, AllowEncrypted: true, Steps: progress.New(nil)}, func(ctx context.Context, s *build.Session) error {
		res, err = verify.Outside(ctx, e, req, func(ctx context.Context) (*verify.Found, error) {
			if name, ok := RegistryRef(req.Image); ok {
				opts.Platform = req.Platform
				r, err := registry.Open(ctx, e.Client, name, opts)
				if err != nil {
					return nil, err
				}
				return &verify.Found{Name: r.Name, Target: r.Target, One: !opts.AllPlatforms, Blob: r.Blob}, nil
			}
			a, ok := build.ParseArchiveRef(req.Image)
			if !ok {
				return nil, fmt.Errorf("%q is neither a registry's image nor an archive: %w", req.Image, errdefs.ErrInvalidArgument)
			}
			target, err := s.Stage(ctx, a, req.Platform)
			return &verify.Found{Name: a.String(), Target: target}, err
		})
		return err
	})
	return res, err
}
