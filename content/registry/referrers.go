package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxReferrerPages is how many pages of a list are read. Registries have a hundred
// entries or more on a page.
const maxReferrerPages = 64

// Referrers lists the manifests whose subject is the given one (OCI
// distribution-spec, "Listing Referrers"), in the repository of the name. With an
// artifactType only those of that type are listed. The descriptors have the type and
// the annotations of the manifests, as far as the registry says them. Their order is
// the registry's; where the registry has no API for it, that in which they were pushed.
//
// What is listed is what the registry says. Neither the manifests are read, nor is it
// checked that they have this subject.
func Referrers(ctx context.Context, ref string, subject digest.Digest, artifactType string, opts Options) ([]ocispec.Descriptor, error) {
	r, err := openRepository(ctx, ref, opts)
	if err != nil {
		return nil, err
	}
	list, err := r.list(ctx, subject, artifactType)
	if err != nil {
		return nil, explain("list what refers to "+subject.String()+" in", r.name, err)
	}
	return list, nil
}

// list is [Referrers] with the errors as they are.
func (r *repository) list(ctx context.Context, subject digest.Digest, artifactType string) (list []ocispec.Descriptor, err error) {
	if err := subject.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", subject, err)
	}
	err = r.opts.retrier().do(ctx, func(ctx context.Context) (err error) {
		list, err = r.listOnce(ctx, subject, artifactType)
		return err
	})
	return list, err
}

// listOnce asks the hosts for their API, and if none has it for the tag. A mirror's
// failure counts only if the registry itself fails too.
func (r *repository) listOnce(ctx context.Context, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	hosts := r.able(docker.HostCapabilityReferrers)
	var failed error // the last host's
	for _, h := range hosts {
		list, there, err := r.pages(ctx, h, subject, artifactType)
		if there && err == nil {
			return list, nil
		}
		if failed = err; ctx.Err() != nil {
			return nil, err
		}
	}
	if failed != nil {
		return nil, failed
	}
	if len(hosts) == 0 {
		hosts = r.able(docker.HostCapabilityResolve)
	}
	for _, h := range hosts {
		was, err := r.readTag(ctx, h, referrersTag(subject))
		if err == nil && was.list != nil {
			return ofType(was.list.descriptors(), artifactType, false), nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		// What is under the tag and is no list means that there is none.
		if failed = err; errdefs.IsInvalidArgument(err) {
			failed = nil
		}
	}
	return nil, failed
}

// pages reads all pages of a list from a host's API. there is false if the host has
// no such API.
func (r *repository) pages(ctx context.Context, h docker.RegistryHost, subject digest.Digest, artifactType string) (list []ocispec.Descriptor, there bool, _ error) {
	q := query{
		method: http.MethodGet, what: []string{"referrers", subject.String()}, values: url.Values{},
		header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}},
	}
	if artifactType != "" {
		q.values.Set("artifactType", artifactType)
	}
	read := 0
	for n := 1; ; n++ {
		a, err := r.ask(ctx, h, q)
		if err != nil {
			return nil, false, err
		}
		page, there, err := a.referrers(n == 1)
		if err != nil || !there {
			return nil, there, err
		}
		read += len(a.body)
		list = append(list, ofType(page.descriptors(), artifactType, applied(a.Header))...)
		next, err := a.next(h)
		if err != nil || next == nil {
			return list, true, err
		}
		if n == maxReferrerPages || read > maxDocument || len(list) > maxReferrers || next.String() == a.Request.URL.String() {
			return nil, true, fmt.Errorf("list of referrers of %s: it does not end after %d pages of %d bytes: %w", subject, n, read, errdefs.ErrInvalidArgument)
		}
		q.next = next
	}
}

// referrers returns the page of a list that was asked for. there is false if the answer
// to the first request means that there is no API for referrers.
func (a answer) referrers(first bool) (page *referrers, there bool, _ error) {
	page, err := parseReferrers(a.body)
	// Some servers answer anything with a page for people.
	other := a.StatusCode == http.StatusOK && err != nil && !a.isIndex()
	switch {
	case first && (lacksAPI(a.StatusCode) || other):
		return nil, false, nil
	case a.StatusCode != http.StatusOK:
		return nil, true, a.unexpected()
	case err != nil:
		return nil, true, fmt.Errorf("list of referrers: %w", err)
	}
	return page, true, nil
}

// lacksAPI reports whether a status means that there is no API for referrers. The
// specification has 404. Older registries know neither the path nor the type.
func lacksAPI(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented:
		return true
	}
	return false
}

// applied reports whether the registry says that it has left out other types.
func applied(h http.Header) bool {
	filters := strings.Split(strings.Join(h.Values("OCI-Filters-Applied"), ","), ",")
	return slices.ContainsFunc(filters, func(f string) bool { return strings.TrimSpace(f) == "artifactType" })
}

// ofType returns the descriptors of a type, or all if it is empty. Where the registry
// has chosen them, one without a type is one of them.
func ofType(list []ocispec.Descriptor, artifactType string, chosen bool) []ocispec.Descriptor {
	if artifactType == "" {
		return list
	}
	return slices.DeleteFunc(list, func(d ocispec.Descriptor) bool {
		return d.ArtifactType != artifactType && (!chosen || d.ArtifactType != "")
	})
}

// nextLink matches the address of a Link with the relation "next" (RFC 8288).
var nextLink = regexp.MustCompile(`<([^<>]*)>\s*;[^<]*\brel\s*=\s*"?next\b`)

// next returns the address of the next page, or nil. A registry behind a proxy may
// have it with the wrong scheme. Other hosts are not asked: the credentials are not
// for them, and the registry could choose what this process requests.
func (a answer) next(h docker.RegistryHost) (*url.URL, error) {
	match := nextLink.FindStringSubmatch(strings.Join(a.Header.Values("Link"), ", "))
	if match == nil {
		return nil, nil
	}
	asked := firstRequest(a.Request).URL
	u, err := asked.Parse(match[1])
	if err != nil {
		return nil, fmt.Errorf("the address of the next page is none: %w", errdefs.ErrInvalidArgument)
	}
	if !strings.EqualFold(u.Host, asked.Host) {
		return nil, fmt.Errorf("the next page of the list is on another host than %s, which is refused: %w", asked.Host, errdefs.ErrInvalidArgument)
	}
	u.Scheme, u.Host, u.User, u.Fragment = h.Scheme, h.Host, nil, ""
	return u, nil
}
