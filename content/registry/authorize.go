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

// ownAuthorizer adds credentials to requests to one registry host, and to no other.
// Containerd's authorizer goes by the name and port of a request's address. So it
// would give the credentials that are stored for a name to any host of that name
// that a registry redirects to, also without TLS.
type ownAuthorizer struct {
	docker.Authorizer
	guard *guard
}

// Authorize implements [docker.Authorizer]. It does not change requests to other
// hosts.
func (a ownAuthorizer) Authorize(ctx context.Context, req *http.Request) error {
	if !a.guard.trusts(req.URL) {
		return nil
	}
	// This may request a token, from the host that the registry named.
	return a.Authorizer.Authorize(context.WithValue(ctx, tokenKey{}, a.guard), req)
}

// AddResponses implements [docker.Authorizer]. It ignores the challenges of other
// hosts.
func (a ownAuthorizer) AddResponses(ctx context.Context, responses []*http.Response) error {
	if last := responses[len(responses)-1].Request.URL; !a.guard.trusts(last) {
		return fmt.Errorf("registry %s redirects to %s, which wants credentials; a redirect never gets any (name that host yourself, as the registry or in hosts.toml): %w",
			a.guard.origin.Host, originOf(last), errdefs.ErrPermissionDenied)
	}
	return a.Authorizer.AddResponses(ctx, responses)
}

func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// tokenKey is the context key of the *guard of the registry host for which a token
// is requested.
type tokenKey struct{}

// checkToken returns an error if a request for a token would send a password over
// plain HTTP. The registry names the host that gives tokens. That host may use
// plain HTTP only if the registry itself is configured to.
func checkToken(req *http.Request) error {
	g, ok := req.Context().Value(tokenKey{}).(*guard)
	if !ok || req.URL.Scheme == "https" || g.isPlain() || !secretive(req) {
		return nil
	}
	return fmt.Errorf("registry %s wants the credentials sent to %s in clear, which is refused: %w",
		g.origin.Host, originOf(req.URL), errdefs.ErrPermissionDenied)
}

// secretive reports whether a request for a token contains credentials.
func secretive(req *http.Request) bool {
	return req.Method == http.MethodPost || req.Header.Get("Authorization") != ""
}

// maxRedirects is the number of redirects that are followed, as in Go's own client.
const maxRedirects = 10

// redirectToken is the [http.Client] CheckRedirect of requests for a token. A
// password may go to the host that the registry named, and no further. Go's client
// sends a form's content again after a redirect, and sends headers to subdomains of
// the first host.
func redirectToken(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errors.New("stopped after 10 redirects")
	}
	// A redirect from HTTP to HTTPS on the same host is allowed.
	first := via[0]
	upgraded := req.URL.Scheme == "https" && port(req.URL) == "443" && strings.EqualFold(first.URL.Hostname(), req.URL.Hostname())
	if secretive(first) && !upgraded && !sameOrigin(first.URL, req.URL) {
		return fmt.Errorf("token server %s sends the credentials on to %s, which is refused: %w",
			originOf(first.URL), originOf(req.URL), errdefs.ErrPermissionDenied)
	}
	return nil
}
