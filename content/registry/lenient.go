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

// lenient is the transport to one registry host. It changes responses that differ
// from the OCI distribution-spec into ones that containerd's client understands.
// docs/registries.md has a table of these, and the tests have a registry that sends
// each of them.
type lenient struct {
	base http.RoundTripper
	root url.URL // the address of the host's API
	// last: this is the last host that is tried.
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
		resp.Body = try.serves(l, resp)
	}
	return resp, nil
}

// mend changes a response that containerd would misunderstand. After an error the
// response is closed.
func (l *lenient) mend(req *http.Request, resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusUnauthorized && req.URL.Host == l.root.Host:
		l.mendChallenge(req, resp)
	case (resp.StatusCode == http.StatusMovedPermanently || resp.StatusCode == http.StatusFound) && (req.Method == http.MethodPost || req.Method == http.MethodPut):
		// For a 301 or 302, Go's client would change the method to GET.
		resp.StatusCode, resp.Status = http.StatusTemporaryRedirect, "307 Temporary Redirect"
	case req.Method == http.MethodPut && resp.StatusCode == http.StatusAccepted:
		// Containerd accepts a 202 for manifests only.
		resp.StatusCode = http.StatusCreated
	case resp.StatusCode == http.StatusPartialContent && otherPart(req, resp):
		// With this status, containerd requests the whole blob.
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

// headRefused reports whether a HEAD failed in a way in which a GET may succeed.
// Some registries do not support HEAD, and a signed address may be valid for GET
// only.
func headRefused(resp *http.Response, err error, try *attempt) bool {
	status := statusOf(err)
	if err == nil {
		status = resp.StatusCode
	}
	switch {
	case status < 400, status == http.StatusUnauthorized, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return false
	case status == http.StatusNotFound:
		// Before a push, a missing blob is expected.
		return !try.push
	}
	// A registry that sends Retry-After is busy.
	after, _ := try.result()
	return after == 0
}

// getForHead answers a HEAD by a GET. If the GET fails during a push, the answer is
// 404, so that the push sends the blob.
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
		// Do not read a blob to its end.
		if err := resp.Body.Close(); err != nil {
			return nil, fmt.Errorf("end the answer to GET %s: %w", get.URL.Redacted(), err)
		}
		resp.Body = http.NoBody
	case try.push && resp.StatusCode >= 400 && resp.StatusCode != http.StatusUnauthorized:
		resp.StatusCode, resp.Status = http.StatusNotFound, "404 Not Found"
	}
	return resp, nil
}

// otherPart reports whether a response has another range than the requested one.
// Containerd's client does not check that.
func otherPart(req *http.Request, resp *http.Response) bool {
	from, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes=")
	got, said := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes ")
	from, _, _ = strings.Cut(from, "-")
	got, _, _ = strings.Cut(got, "-")
	return ok && said && strings.TrimSpace(got) != from
}

// mendUpload changes a response to the start of an upload, so that the upload
// begins and goes to the right address. start is the requested address.
func mendUpload(start *url.URL, resp *http.Response) error {
	if !strings.HasSuffix(start.Path, "/blobs/uploads/") {
		return nil
	}
	location := resp.Header.Get("Location")
	switch resp.StatusCode {
	case http.StatusCreated:
		// Containerd takes it for a mount, even if none was requested, and sends
		// nothing.
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
	// RFC 9110, section 10.2.2: the address is relative to the one that answered.
	to, err := resp.Request.URL.Parse(location)
	if err != nil || to.Host == "" {
		return fmt.Errorf("start an upload at %s: the registry's Location is no address: %w", resp.Request.URL.Redacted(), errdefs.ErrInvalidArgument)
	}
	// Containerd unescapes the path once.
	to.Path, to.RawPath = to.EscapedPath(), ""
	resp.Header.Set("Location", to.String())
	resp.StatusCode, resp.Status = http.StatusAccepted, "202 Accepted"
	return nil
}

// unexpected returns the error for a response's status, without the body's text.
func unexpected(resp *http.Response) error {
	return remoteerrors.ErrUnexpectedStatus{
		Status: resp.Status, StatusCode: resp.StatusCode,
		RequestURL: resp.Request.URL.String(), RequestMethod: resp.Request.Method,
	}
}
