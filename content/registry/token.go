package registry

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// tokens is the transport to those who give out tokens. It makes of their
// answers what containerd's client understands: that wants access_token for a
// POST, whole seconds as a number, and a date that it can read and never uses;
// and it goes on with GET after some of the refusals of a POST only.
type tokens struct{ base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t *tokens) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil || resp.StatusCode >= 300 {
		if err == nil && req.Method == http.MethodPost && refusesPost(resp.StatusCode) {
			resp.StatusCode, resp.Status = http.StatusNotFound, "404 Not Found"
		}
		return resp, err
	}
	data, err := io.ReadAll(resp.Body) // patient bounds it
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	data = plainToken(data)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return resp, nil
}

// refusesPost reports whether a token server may have no POST by this status.
// After the others containerd's client goes on with GET by itself.
func refusesPost(status int) bool {
	switch status {
	case http.StatusForbidden, http.StatusNotAcceptable, http.StatusGone, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return true
	}
	return false
}

// plainToken returns what counts of a token server's answer, in the form of
// the specification; what is no such answer it returns as it is.
func plainToken(data []byte) []byte {
	var said struct {
		Token        string          `json:"token"`
		AccessToken  string          `json:"access_token"`
		RefreshToken string          `json:"refresh_token"`
		ExpiresIn    json.RawMessage `json:"expires_in"`
	}
	if err := json.Unmarshal(data, &said); err != nil {
		return data
	}
	if said.AccessToken == "" {
		said.AccessToken = said.Token
	}
	plain := map[string]any{"token": said.AccessToken, "access_token": said.AccessToken}
	if said.RefreshToken != "" {
		plain["refresh_token"] = said.RefreshToken
	}
	// A token whose time is not known is used until it is refused.
	if seconds, err := strconv.ParseFloat(strings.Trim(string(said.ExpiresIn), `"`), 64); err == nil && seconds >= 1 && seconds < 1<<31 {
		plain["expires_in"] = int64(seconds)
	}
	out, err := json.Marshal(plain)
	if err != nil {
		return data
	}
	return out
}
