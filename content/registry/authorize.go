package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
)

// ownAuthorizer authorises requests to one registry host and to no other.
// Containerd's goes by the name and port that a request happens to lead to, and
// so gives whoever a registry redirects to the credentials that are stored for
// that name, also in clear.
type ownAuthorizer struct {
	docker.Authorizer
	guard *guard
}

// Authorize implements [docker.Authorizer]. Requests to other hosts stay as they are.
func (a ownAuthorizer) Authorize(ctx context.Context, req *http.Request) error {
	if !a.guard.trusts(req.URL) {
		return nil
	}
	// A token may be asked for now: at the host that the registry named.
	return a.Authorizer.Authorize(context.WithValue(ctx, tokenKey{}, a.guard), req)
}

// AddResponses implements [docker.Authorizer]. What another host demands is
// not answered.
func (a ownAuthorizer) AddResponses(ctx context.Context, responses []*http.Response) error {
	if last := responses[len(responses)-1].Request.URL; !a.guard.trusts(last) {
		return fmt.Errorf("registry %s redirects to %s, which wants credentials; a redirect never gets any (name that host yourself, as the registry or in hosts.toml): %w",
			a.guard.origin.Host, originOf(last), errdefs.ErrPermissionDenied)
	}
	return a.Authorizer.AddResponses(ctx, responses)
}

func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// tokenKey is the key in a context of the *guard of the registry host that
// requests for a token are made for.
type tokenKey struct{}

// checkToken is an error where a request would show a password to whoever
// listens: the registry says where tokens are to be had, and that may be on
// plain HTTP only where the registry itself is set up to be.
func checkToken(req *http.Request) error {
	g, ok := req.Context().Value(tokenKey{}).(*guard)
	if !ok || req.URL.Scheme == "https" || g.isPlain() || !secretive(req) {
		return nil
	}
	return fmt.Errorf("registry %s wants the credentials sent to %s in clear, which is refused: %w",
		g.origin.Host, originOf(req.URL), errdefs.ErrPermissionDenied)
}

// secretive reports whether a request for a token has credentials in it.
func secretive(req *http.Request) bool {
	return req.Method == http.MethodPost || req.Header.Get("Authorization") != ""
}

// maxRedirects is how many Go's own client follows.
const maxRedirects = 10

// redirectToken is the [http.Client] CheckRedirect of requests for a token. A
// password goes to the host that the registry named, and not on from there:
// Go's client sends a form again with all that is in it, and a header to names
// below the first one's.
func redirectToken(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errors.New("stopped after 10 redirects")
	}
	// A server may insist on TLS.
	first := via[0]
	upgraded := req.URL.Scheme == "https" && port(req.URL) == "443" && strings.EqualFold(first.URL.Hostname(), req.URL.Hostname())
	if secretive(first) && !upgraded && !sameOrigin(first.URL, req.URL) {
		return fmt.Errorf("token server %s sends the credentials on to %s, which is refused: %w",
			originOf(first.URL), originOf(req.URL), errdefs.ErrPermissionDenied)
	}
	return nil
}
