package registry

import (
	"context"
	"fmt"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// tagLooks is how often the registry is asked for a tag that was pushed, since some
// have it a moment later.
const tagLooks = 4

// checkTag returns an error if the registry says that a tag which was pushed means
// something else. There are registries that accept a tag which they have, and do not
// change it: Kraken's build-index is one. What a registry does not say is no error.
func checkTag(ctx context.Context, ref string, pushed ocispec.Descriptor, opts Options) error {
	r, err := openRepository(ctx, ref, opts)
	if err != nil {
		return err
	}
	if r.spec.Digest() != "" {
		return nil
	}
	h, err := r.writable()
	if err != nil {
		return err
	}
	wait := opts.backoff()
	for n := 1; ; n++ {
		means, err := r.tagged(ctx, h, pushed)
		if err != nil || means == pushed.Digest {
			return ctx.Err()
		}
		if n == tagLooks {
			return fmt.Errorf("push %s: the registry took the image, but this name is %s there: it does not change a tag, or another push came later; push it by another tag, or name it %s@%s: %w",
				ref, means, r.spec.Locator, pushed.Digest, errdefs.ErrConflict)
		}
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
		wait *= 2
	}
}

// tagged returns the digest of what the repository's tag means, pushed's if it cannot be
// said. Some registries tell a wrong digest, so another one than pushed's is made of what
// they send.
func (r *repository) tagged(ctx context.Context, h docker.RegistryHost, pushed ocispec.Descriptor) (digest.Digest, error) {
	q := query{
		method: http.MethodHead, what: []string{"manifests", r.spec.Object},
		header: http.Header{"Accept": {pushed.MediaType + ", */*"}, "Cache-Control": {"no-cache"}},
	}
	a, err := r.ask(ctx, h, q)
	if err != nil {
		return "", err
	}
	if said := a.Header.Get("Docker-Content-Digest"); a.StatusCode != http.StatusOK || said == "" || said == pushed.Digest.String() {
		return pushed.Digest, nil
	}
	q.method = http.MethodGet
	if a, err = r.ask(ctx, h, q); err != nil {
		return "", err
	}
	if a.StatusCode != http.StatusOK {
		return pushed.Digest, nil
	}
	return pushed.Digest.Algorithm().FromBytes(a.body), nil
}
