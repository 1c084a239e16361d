package registry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxRounds is how often a list under a tag is written until what was written
	// stays. Each round that another writer has won is a success of that writer.
	maxRounds = 16
	// maxDoublings bounds the pauses between rounds: 8 seconds with the default
	// backoff.
	maxDoublings = 4
)

// tagged is what a host has under the tag of a list.
type tagged struct {
	list *referrers // nil: it has nothing
	etag string     // of the document, for a condition; may be empty
}

// readTag reads the list under a tag. The error wraps [errdefs.ErrInvalidArgument] if
// it is no list.
func (r *repository) readTag(ctx context.Context, h docker.RegistryHost, tag string) (tagged, error) {
	a, err := r.ask(ctx, h, query{
		method: http.MethodGet, what: []string{"manifests", tag},
		// With a type that was not asked for, it can be said what is there instead.
		header: http.Header{"Accept": {ocispec.MediaTypeImageIndex + ", */*"}, "Cache-Control": {"no-cache"}},
	})
	switch {
	case err != nil:
		return tagged{}, err
	case a.StatusCode == http.StatusNotFound:
		return tagged{}, nil
	case a.StatusCode != http.StatusOK:
		return tagged{}, a.unexpected()
	}
	list, err := parseReferrers(a.body)
	if err != nil {
		return tagged{}, fmt.Errorf("what the registry has under the tag %s is no list of referrers: %w", tag, err)
	}
	return tagged{list: list, etag: a.Header.Get("ETag")}, nil
}

// absent is in place of the ETag of a list that is not there. It is none itself.
const absent = "absent"

// change is a change of a list. It reports whether it had to change anything.
type change func(*referrers) (bool, error)

// changeTag changes the list of a subject's referrers under its tag, as clients of
// registries without the API have to (distribution-spec, "Pushing Manifests with
// Subject").
//
// Few registries can replace a tag only if it still is what was read. So two clients
// may read the same list, and the one that writes last removes what the other has
// written. Therefore the list is read again, after a wait that is longer than from
// reading to writing, in which those who had read the old list have written theirs.
// If the change is not there any more, it is made again. This needs no agreement with
// other clients. It fails only if one of them takes longer from reading to writing
// than this one waits: then an entry is lost. Conditions are sent too, for the
// registries that know them.
func (r *repository) changeTag(ctx context.Context, h docker.RegistryHost, subject digest.Digest, edit change) error {
	t := &tagWriter{repo: r, host: h, tag: referrersTag(subject), edit: edit}
	first := r.opts.backoff()
	for n := range maxRounds {
		// Half of those that lost against each other come back in another half of this
		// time, and so on.
		if n > 0 && !sleep(ctx, rand.N(first<<min(n, maxDoublings))) {
			return ctx.Err()
		}
		done, err := t.round(ctx)
		if err != nil || done {
			return err
		}
		if !t.sent {
			continue
		}
		if !sleep(ctx, max(first, 4*t.took)) {
			return ctx.Err()
		}
		if done, err = t.isDone(ctx); err != nil || done {
			return err
		}
	}
	return fmt.Errorf("tag %s: other clients have changed the list at the same time, %d times: %w", t.tag, maxRounds, errdefs.ErrUnavailable)
}

// pushes is the retrier of requests that write, and of those that decide about it.
func (r *repository) pushes() retrier {
	tries := r.opts.retrier()
	tries.push = true
	return tries
}

// tagWriter changes a list under a tag.
type tagWriter struct {
	repo *repository
	host docker.RegistryHost
	tag  string
	edit change
	// sent: this round has sent a list, and it is not known that it was refused. took
	// is how long that was from reading to writing.
	sent bool
	took time.Duration
	// refused is the state of the last write that failed for its condition. If a
	// write for the same state fails again, the registry does not mean it, and no
	// more conditions are sent.
	refused       string
	unconditional bool
	// dangling: the registry lacks a manifest that the list names.
	dangling bool
}

// round reads, changes and writes the list, and does so again after a temporary
// failure. done is true if there was nothing to do.
func (t *tagWriter) round(ctx context.Context) (done bool, err error) {
	t.sent = false
	err = t.repo.pushes().do(ctx, func(ctx context.Context) (err error) {
		begun := time.Now()
		done, err = t.write(ctx)
		t.took = time.Since(begun)
		return err
	})
	return done, err
}

// isDone reports whether the list is as it is to be.
func (t *tagWriter) isDone(ctx context.Context) (done bool, err error) {
	err = t.repo.pushes().do(ctx, func(ctx context.Context) error {
		_, _, changed, err := t.edited(ctx)
		done = !changed
		return err
	})
	return done, err
}

// edited reads the list and changes it. state is what was read: an ETag, which may be
// empty, or absent.
func (t *tagWriter) edited(ctx context.Context) (list *referrers, state string, changed bool, _ error) {
	was, err := t.repo.readTag(ctx, t.host, t.tag)
	if err != nil {
		return nil, "", false, err
	}
	if list = was.list; list == nil {
		list = newReferrers()
	}
	changed, err = t.edit(list)
	if was.list != nil {
		return list, was.etag, changed, err
	}
	return list, absent, changed, err
}

// write changes and writes the list once. done is true if there was nothing to do. It
// is false after a failed write of this round that may have arrived.
func (t *tagWriter) write(ctx context.Context) (done bool, _ error) {
	list, state, changed, err := t.edited(ctx)
	if err != nil || !changed {
		return !t.sent, err
	}
	if t.dangling {
		if err := t.dropGone(ctx, list); err != nil {
			return false, err
		}
	}
	data, err := list.encode()
	if err != nil {
		return false, err
	}
	header := http.Header{"Content-Type": {ocispec.MediaTypeImageIndex}}
	switch {
	case t.unconditional:
	case state == absent:
		header.Set("If-None-Match", "*")
	case state != "" && !strings.HasPrefix(state, "W/"): // a weak one is no condition for a write
		header.Set("If-Match", state)
	}
	t.sent = true
	a, err := t.repo.ask(ctx, t.host, query{method: http.MethodPut, what: []string{"manifests", t.tag}, header: header, body: data})
	switch {
	case err != nil:
		return false, err
	case a.StatusCode == http.StatusPreconditionFailed, a.StatusCode == http.StatusNotModified:
		t.sent, t.unconditional, t.refused = false, t.refused == state, state
		return false, nil
	}
	err = a.stored(digest.FromBytes(data))
	if forgot(err) && !t.dangling {
		t.sent, t.dangling = false, true
		return false, nil
	}
	return false, err
}

// maxGone is how many entries of a list are looked for, each by a request.
const maxGone = 200

// dropGone removes the entries of manifests that the registry does not have. Some
// registries take no list with such an entry, and somebody may have deleted an artifact
// and left the list as it was.
func (t *tagWriter) dropGone(ctx context.Context, list *referrers) error {
	for n, d := range list.descriptors() {
		if n == maxGone {
			break
		}
		a, err := t.repo.ask(ctx, t.host, query{
			method: http.MethodHead, what: []string{"manifests", d.Digest.String()}, header: http.Header{"Accept": {d.MediaType + ", */*"}},
		})
		if err != nil {
			return err
		}
		if a.StatusCode == http.StatusNotFound {
			list.remove(d.Digest)
		}
	}
	return nil
}

// stored returns an error if the answer to a PUT is not that the manifest with this
// digest was stored.
func (a answer) stored(d digest.Digest) error {
	switch a.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
	default:
		return a.unexpected()
	}
	if said := a.Header.Get("Docker-Content-Digest"); said != "" && said != d.String() {
		return fmt.Errorf("the registry stored %s in place of %s: %w", said, d, errdefs.ErrFailedPrecondition)
	}
	return nil
}
