package registry

import (
	"context"
	"sync"

	cstore "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
)

// sources is a store that tells a push from which repositories blobs can be
// mounted. It leaves out repositories that were only named for a blob. Blobs that
// are not stored here are in the repositories that the images listing them came
// from.
type sources struct {
	cstore.Store
	images content.Images
	target ocispec.Descriptor // the image that is pushed

	once  sync.Once
	found map[digest.Digest]map[string]string
	err   error
}

// Info implements containerd's InfoProvider.
func (s *sources) Info(ctx context.Context, blob digest.Digest) (cstore.Info, error) {
	info, err := s.Store.Info(ctx, blob)
	if err == nil {
		info.Labels = content.KnownSources(info.Labels)
		return info, nil
	}
	if !errdefs.IsNotFound(err) {
		return info, err
	}
	s.once.Do(func() { s.found, s.err = s.find(ctx) })
	if s.err != nil {
		return info, s.err
	}
	if labels, ok := s.found[blob]; ok {
		return cstore.Info{Digest: blob, Labels: labels}, nil
	}
	return info, err
}

// find finds the repositories of the blobs that are to be pushed and are not stored
// here.
func (s *sources) find(ctx context.Context) (map[digest.Digest]map[string]string, error) {
	docs, err := content.Documents(ctx, s.Store, s.target)
	if err != nil {
		return nil, err
	}
	var missing []ocispec.Descriptor
	for _, doc := range docs {
		for _, child := range doc.Children {
			_, err := s.Store.Info(ctx, child.Desc.Digest)
			if errdefs.IsNotFound(err) {
				missing = append(missing, child.Desc)
			} else if err != nil {
				return nil, err
			}
		}
	}
	return content.MissingSources(ctx, s.images, missing)
}
