package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
)

// lenient is the transport to one registry host that makes of answers which
// are not as the OCI distribution-spec has them what containerd's client
// understands. docs/registries.md has a table of such answers, and the tests a
// registry that gives each of them.
type lenient struct {
	base http.RoundTripper
	root url.URL // where the host's API begins
	// last: no other host is asked after this one.
	last bool
}

func newLenient(base http.RoundTripper, host docker.RegistryHost, last bool) *lenient {
	return &lenient{base: base, root: url.URL{Scheme: host.Scheme, Host: host.Host, Path: host.Path + "/"}, last: last}
}

// RoundTrip implements [http.RoundTripper].
func (l *lenient) RoundTrip(req *http.Request) (*http.Response, error) {
	try := attemptOf(req.Context())
	if err := try.leftOut(l.root.Host); err != nil && !l.last {
		return nil, err
	}
	resp, err := l.base.RoundTrip(req)
	if req.Method == http.MethodHead && headRefused(resp, err, try) {
		resp, err = l.getForHead(req, try)
	}
	if err == nil {
		err = l.mend(req, resp)
	}
	if l.last {
		try.answeredLast(resp, err)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 && (req.Method == http.MethodGet || req.Method == http.MethodHead) {
		resp.Body = try.serves(l, resp.Body)
	}
	return resp, nil
}

// mend changes a response that would be misunderstood. After an error the
// response is closed.
func (l *lenient) mend(req *http.Request, resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusUnauthorized && req.URL.Host == l.root.Host:
		l.mendChallenge(req, resp)
	case (resp.StatusCode == http.StatusMovedPermanently || resp.StatusCode == http.StatusFound) && (req.Method == http.MethodPost || req.Method == http.MethodPut):
		// Go's client would follow with GET.
		resp.StatusCode, resp.Status = http.StatusTemporaryRedirect, "307 Temporary Redirect"
	case req.Method == http.MethodPut && resp.StatusCode == http.StatusAccepted:
		// Containerd takes it for manifests only.
		resp.StatusCode = http.StatusCreated
	case resp.StatusCode == http.StatusPartialContent && otherPart(req, resp):
		// As if it could not: then all of it is asked for.
		resp.StatusCode, resp.Status = http.StatusRequestedRangeNotSatisfiable, "416 (another range was sent)"
	case firstRequest(req).Method == http.MethodPost:
		if err := mendUpload(firstRequest(req).URL, resp); err != nil {
			return errors.Join(err, resp.Body.Close())
		}
	}
	if resp.StatusCode != http.StatusUnauthorized {
		attemptOf(req.Context()).admitted(req)
	}
	return nil
}

// headRefused reports whether a HEAD failed in a way in which GET need not: a
// registry may have no HEAD, and the right to GET alone is what an address
// that is signed gives.
func headRefused(resp *http.Response, err error, try *attempt) bool {
	status := statusOf(err)
	if err == nil {
		status = resp.StatusCode
	}
	switch {
	case status < 400, status == http.StatusUnauthorized, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return false
	case status == http.StatusNotFound:
		// Before a push, that is what is expected.
		return !try.push
	}
	// A registry that says when to come back is busy.
	after, _ := try.result()
	return after == 0
}

// getForHead answers a HEAD by what GET says. What a push cannot see it sends.
func (l *lenient) getForHead(head *http.Request, try *attempt) (*http.Response, error) {
	get := head.Clone(head.Context())
	get.Method = http.MethodGet
	resp, err := l.base.RoundTrip(get)
	if err != nil {
		return nil, err
	}
	request := *resp.Request
	request.Method = http.MethodHead
	resp.Request = &request
	switch {
	case resp.StatusCode < 300:
		// The rest of a blob is not waited for.
		if err := resp.Body.Close(); err != nil {
			return nil, fmt.Errorf("end the answer to GET %s: %w", get.URL.Redacted(), err)
		}
		resp.Body = http.NoBody
	case try.push && resp.StatusCode >= 400 && resp.StatusCode != http.StatusUnauthorized:
		resp.StatusCode, resp.Status = http.StatusNotFound, "404 Not Found"
	}
	return resp, nil
}

// otherPart reports whether a response says that it is another range than the
// one that was asked for. Containerd's client does not look.
func otherPart(req *http.Request, resp *http.Response) bool {
	from, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes=")
	got, said := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes ")
	from, _, _ = strings.Cut(from, "-")
	got, _, _ = strings.Cut(got, "-")
	return ok && said && strings.TrimSpace(got) != from
}

// mendUpload sees to it that an upload begins if it is to, and at the right
// place. start is the address that was asked for it.
func mendUpload(start *url.URL, resp *http.Response) error {
	if !strings.HasSuffix(start.Path, "/blobs/uploads/") {
		return nil
	}
	location := resp.Header.Get("Location")
	switch resp.StatusCode {
	case http.StatusCreated:
		// Containerd takes it for a mount, even where none was asked for, and
		// sends nothing.
		if start.Query().Has("mount") && !strings.Contains(location, "/blobs/uploads/") {
			return nil
		}
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
	default:
		return nil
	}
	if location == "" {
		return fmt.Errorf("start an upload at %s: the registry answers %d and does not say where to (no Location): %w",
			resp.Request.URL.Redacted(), resp.StatusCode, errdefs.ErrInvalidArgument)
	}
	// RFC 9110, section 10.2.2: it is relative to the address that answered.
	to, err := resp.Request.URL.Parse(location)
	if err != nil || to.Host == "" {
		return fmt.Errorf("start an upload at %s: the registry's Location is no address: %w", resp.Request.URL.Redacted(), errdefs.ErrInvalidArgument)
	}
	// Containerd takes one level of escapes off the path.
	to.Path, to.RawPath = to.EscapedPath(), ""
	resp.Header.Set("Location", to.String())
	resp.StatusCode, resp.Status = http.StatusAccepted, "202 Accepted"
	return nil
}

// unexpected is the error that a response's status stands for, without what
// the body says.
func unexpected(resp *http.Response) error {
	return remoteerrors.ErrUnexpectedStatus{
		Status: resp.Status, StatusCode: resp.StatusCode,
		RequestURL: resp.Request.URL.String(), RequestMethod: resp.Request.Method,
	}
}
