package veneer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/build"
	"github.com/veneer-build/veneer/build/dockerfile"
	"github.com/veneer-build/veneer/content"
)

// namedPlatforms checks the platforms of a Dockerfile's build, and lists each once.
// One is the same as none but that.
func (r DockerfileRequest) namedPlatforms() (one string, several []string, _ error) {
	if len(r.Platforms) == 0 {
		return r.Platform, nil, nil
	}
	if r.Platform != "" {
		return "", nil, errors.New("one platform and several were asked for; choose one of them")
	}
	for _, name := range r.Platforms {
		if name == AllPlatforms {
			return "", nil, errors.New("a Dockerfile is built for platforms that are named, as in linux/amd64 and linux/arm64, and not for all")
		}
		p, err := platforms.Parse(name)
		if err != nil {
			return "", nil, fmt.Errorf("platform %q: %w", name, err)
		}
		if name = platforms.FormatAll(platforms.Normalize(p)); !slices.Contains(several, name) {
			several = append(several, name)
		}
	}
	if len(several) == 1 {
		return several[0], nil, nil
	}
	return "", several, nil
}

// finishAll makes the image of each platform, and an index of them. The names come
// last.
func (r DockerfileRequest) finishAll(ctx context.Context, s *build.Session, all []*dockerfile.Outcome) (*Result, error) {
	if r.Output.filesOnly() {
		return r.filesOfAll(ctx, s, all)
	}
	var images []*Result
	var list []ocispec.Platform
	entries := content.IndexAssembly{Docker: true, Annotations: r.IndexAnnotations}
	for _, made := range all {
		one := r
		one.Platforms, one.Platform, one.Tags, one.part = nil, platforms.FormatAll(made.Platform), nil, true
		res, err := one.finish(ctx, s, made)
		if err != nil {
			return nil, fmt.Errorf("build for %s: %w", one.Platform, err)
		}
		res.Platform, res.Dockerfile = one.Platform, dockerfileResult(made)
		images, list = append(images, res), append(list, made.Platform)
		entries.Docker = entries.Docker && strings.HasPrefix(res.Target.MediaType, "application/vnd.docker.")
		entries.Entries = append(entries.Entries, content.IndexEntry{Manifest: res.Target, Platform: made.Platform})
	}
	res := sumUp(images, hostOf(list))
	res.Names, res.Base = r.Tags, images[0].Base
	var err error
	if res.Target, err = storeIndex(ctx, s, entries); err != nil {
		return nil, err
	}
	res.Digest = res.Target.Digest
	c := dockerfile.Count(all)
	res.Dockerfile = &DockerfileResult{Images: c.Images, Steps: c.Steps, Cached: c.Cached}
	for _, m := range images {
		res.Dockerfile.StepBytes += m.Dockerfile.StepBytes
	}
	if len(r.Tags) == 0 && r.Output == nil {
		s.Warnings.AddError(ErrUnnamed)
	}
	return res, r.record(ctx, s, res.Target)
}

// filesOfAll writes the files of each platform into a directory of its own, whose
// name is the platform's as docker build has it.
func (r DockerfileRequest) filesOfAll(ctx context.Context, s *build.Session, all []*dockerfile.Outcome) (*Result, error) {
	var names []string
	w := r.Output.files()
	for _, made := range all {
		name := platforms.FormatAll(made.Platform)
		names = append(names, name)
		if err := w.add(ctx, s, made, strings.ReplaceAll(name, "/", "_")); err != nil {
			return nil, errors.Join(fmt.Errorf("build for %s: %w", name, err), w.close())
		}
	}
	c := dockerfile.Count(all)
	res := &Result{Platform: strings.Join(names, ","), Dockerfile: &DockerfileResult{Images: c.Images, Steps: c.Steps, Cached: c.Cached}}
	return res, w.close()
}
