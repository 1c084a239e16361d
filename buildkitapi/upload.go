package buildkitapi

import (
	"io"
	"net/http"

	"github.com/moby/buildkit/session/upload"
)

// uploadHost is the host of the URLs by which a client offers files of its own: a
// context that it got on its standard input.
const uploadHost = "buildkit-session"

// Transport implements dockerfile.Caller.
func (c *caller) Transport(base http.RoundTripper) http.RoundTripper {
	return uploads{caller: c, base: base}
}

type uploads struct {
	caller *caller
	base   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (u uploads) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != uploadHost || u.caller.session == nil {
		return u.base.RoundTrip(req)
	}
	up, err := upload.New(req.Context(), u.caller.session, req.URL)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		_, err := up.WriteTo(w)
		_ = w.CloseWithError(err) // Never fails.
	}()
	return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Body: r, ContentLength: -1, Request: req}, nil
}
