package registry

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Surplus returns what to remove of a list of [Referrers], so that the newest ones
// stay, as many as keep says. Those of spare stay in any case, and count. The time of
// an artifact is its annotation "org.opencontainers.image.created". Those that have
// none, as deltas that are the same whenever they are made, are older than those that
// have one, and of them the first in the list is the oldest.
func Surplus(list []ocispec.Descriptor, keep int, spare ...digest.Digest) []ocispec.Descriptor {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b ocispec.Descriptor) int { return created(a).Compare(created(b)) })
	left := len(list)
	return slices.DeleteFunc(list, func(d ocispec.Descriptor) bool {
		if left <= keep || slices.Contains(spare, d.Digest) {
			return true
		}
		left--
		return false
	})
}

// created is zero if the annotation is absent or no time.
func created(d ocispec.Descriptor) time.Time {
	t, err := time.Parse(time.RFC3339, d.Annotations[ocispec.AnnotationCreated])
	if err != nil {
		return time.Time{}
	}
	return t
}

// Removed says what became of artifacts that were to be removed.
type Removed struct {
	// Deleted are not in the registry any more.
	Deleted []digest.Digest
	// Kept are still in the registry, since it does not let them be deleted, or not by
	// this user. Refusal has its words. They are not listed any more if the list is
	// under a tag.
	Kept    []digest.Digest
	Refusal error
}

// RemoveReferrers removes artifacts of a subject from the repository of the name: from
// the list of the subject's referrers, and then themselves. Their blobs are removed
// by the registry's garbage collector. A registry that refuses the deletion is no
// error, see [Removed].
func RemoveReferrers(ctx context.Context, ref string, subject digest.Digest, artifacts []digest.Digest, opts Options) (Removed, error) {
	r, err := openRepository(ctx, ref, opts)
	if err != nil || len(artifacts) == 0 {
		return Removed{}, err
	}
	removed, err := r.remove(ctx, subject, artifacts)
	if err != nil {
		return removed, explain("remove what refers to "+subject.String()+" from", r.name, err)
	}
	return removed, nil
}

func (r *repository) remove(ctx context.Context, subject digest.Digest, artifacts []digest.Digest) (removed Removed, _ error) {
	h, err := r.writable()
	if err != nil {
		return removed, err
	}
	err = r.changeTag(ctx, h, subject, func(l *referrers) (bool, error) { return l.remove(artifacts...), nil })
	if err != nil && !errdefs.IsInvalidArgument(err) { // under the tag is no list
		return removed, err
	}
	for _, d := range artifacts {
		var refusal error
		err := r.opts.retrier().do(ctx, func(ctx context.Context) (err error) {
			refusal, err = r.delete(ctx, h, d)
			return err
		})
		switch {
		case err != nil:
			return removed, err
		case refusal != nil:
			removed.Kept, removed.Refusal = append(removed.Kept, d), redact(refusal)
		default:
			removed.Deleted = append(removed.Deleted, d)
		}
	}
	return removed, nil
}

// delete deletes a manifest. A refusal means that the registry lets nobody do so, or
// not this user.
func (r *repository) delete(ctx context.Context, h docker.RegistryHost, d digest.Digest) (refusal, _ error) {
	a, err := r.ask(ctx, h, query{method: http.MethodDelete, what: []string{"manifests", d.String()}})
	if denied(err) {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	switch a.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent, http.StatusNotFound:
		return nil, nil
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusUnauthorized, http.StatusForbidden:
		return a.unexpected(), nil
	}
	return nil, a.unexpected()
}
