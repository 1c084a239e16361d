package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
)

// guard is the transport to one registry host. It sends the host's credentials, and
// the headers in its hosts.toml, to that host only. Go's client sends both along
// with a redirect to another port or scheme of the same host, or to a subdomain.
// Containerd's client sends the headers to any address that the host names for an
// upload.
type guard struct {
	base   http.RoundTripper
	origin url.URL // scheme and host
	path   string  // its API's, such as /v2
	header http.Header
	// plain: the host speaks HTTP, and HTTPS was tried first.
	plain atomic.Bool
}

func newGuard(base http.RoundTripper, host docker.RegistryHost) *guard {
	return &guard{base: base, origin: url.URL{Scheme: host.Scheme, Host: host.Host}, path: host.Path, header: host.Header}
}

// RoundTrip implements [http.RoundTripper].
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if g.asksBlob(req) {
		ctx = context.WithValue(ctx, blobKey{}, true)
	}
	req = req.Clone(ctx)
	if first := firstRequest(req); !sameOrigin(first.URL, req.URL) {
		req.Header.Del("Referer")
	}
	if g.trusts(req.URL) {
		for key, values := range g.header {
			req.Header[key] = append(req.Header[key], values...)
		}
	} else {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	resp, err := g.base.RoundTrip(req)
	if err == nil && resp.Request != nil && sameOrigin(&g.origin, req.URL) && req.URL.Scheme == "https" && resp.Request.URL.Scheme == "http" {
		g.plain.Store(true)
	}
	return resp, err
}

// blobKey marks the context of a request for a blob. The response may have any
// length.
type blobKey struct{}

// asksBlob reports whether a request is for a blob of this host, or was redirected
// from such a request. Requests for tokens have no guard, so their addresses do not
// matter here.
func (g *guard) asksBlob(req *http.Request) bool {
	first := firstRequest(req)
	return req.Method == http.MethodGet && g.trusts(first.URL) && strings.Contains(strings.TrimPrefix(first.URL.Path, g.path), "/blobs/")
}

// trusts reports whether an address is on the host itself.
func (g *guard) trusts(u *url.URL) bool {
	if sameOrigin(&g.origin, u) {
		return true
	}
	plain := url.URL{Scheme: "http", Host: g.origin.Host}
	return g.plain.Load() && sameOrigin(&plain, u)
}

// isPlain reports whether the host is configured for plain HTTP, and uses it.
// Containerd's transport falls back to HTTP for no others.
func (g *guard) isPlain() bool { return g.origin.Scheme == "http" || g.plain.Load() }

// firstRequest returns the request that redirects led on from, or req if there were
// none.
func firstRequest(req *http.Request) *http.Request {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// maxDocument is the greatest length of a response that is not a blob: a manifest,
// a token, an error. Registries allow manifests of 4 MiB.
const maxDocument = 8 << 20

// patient is the transport to registries and to hosts that give out tokens. It
// turns temporary failures into errors that containerd does not know, so that a
// [retrier] repeats the request after a pause, and not containerd at once. It ends
// transfers that stall, and responses that are too long.
type patient struct {
	base  http.RoundTripper
	stall time.Duration
	// blobs: all responses are blobs. Their size is checked elsewhere.
	blobs bool
}

// RoundTrip implements [http.RoundTripper].
func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := checkToken(req); err != nil {
		return nil, err
	}
	try := attemptOf(req.Context())
	ctx, cancel := context.WithCancelCause(req.Context())
	req = req.WithContext(ctx)
	watch := &watch{limit: p.stall, end: func() { cancel(errStalled) }}
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &watchedUpload{ReadCloser: req.Body, watch: watch}
	}
	resp, err := p.base.RoundTrip(req)
	if err != nil {
		watch.stop()
		if errors.Is(context.Cause(ctx), errStalled) {
			err = errStalled
		}
		cancel(nil)
		try.failed(err)
		if transient(err) {
			err = brokenError(err.Error())
		}
		return nil, err
	}
	if err := refusal(resp); err != nil {
		try.refused(resp)
		cancel(nil)
		return nil, err
	}
	// No cookies are used, and containerd writes headers to its log.
	resp.Header.Del("Set-Cookie")
	body := &watchedBody{ReadCloser: resp.Body, watch: watch, cancel: cancel, ctx: ctx, try: try, left: maxDocument}
	body.blob = p.blobs || req.Context().Value(blobKey{}) != nil
	resp.Body = body
	return resp, nil
}

// brokenError is the text of an error that containerd would retry at once.
type brokenError string

func (e brokenError) Error() string { return string(e) }

// refusal returns an error for a response whose status is temporary, and closes
// that response. nil for others.
func refusal(resp *http.Response) error {
	if !passes(resp.StatusCode) {
		return nil
	}
	err := remoteerrors.NewUnexpectedStatusErr(resp)
	if closeErr := resp.Body.Close(); closeErr != nil {
		return errors.Join(err, closeErr)
	}
	var status remoteerrors.ErrUnexpectedStatus
	var said docker.Errors
	if errors.As(err, &status) && json.Unmarshal(status.Body, &said) == nil && said.Len() > 0 {
		return fmt.Errorf("%w: %w", err, said)
	}
	return err
}

// passes reports whether a status is temporary.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter returns the wait that a response asks for (RFC 9110, section 10.2.3),
// or 0.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// brokenOff reports whether err means that a connection ended too early.
func brokenOff(err error) bool {
	var netErr net.Error
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &netErr) && netErr.Timeout() ||
		// net/http does not export these errors.
		strings.Contains(err.Error(), "http2: ") || strings.Contains(err.Error(), "server closed idle connection")
}
