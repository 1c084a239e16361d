package registry

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// tokens is the transport to hosts that give out tokens. It changes their responses
// into ones that containerd's client understands. That client needs access_token in
// the response to a POST, whole seconds as a number, and a date that it can parse
// and never uses. It also tries GET only after some of the statuses that refuse a
// POST.
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
	data, err := io.ReadAll(resp.Body) // patient limits its length
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

// refusesPost reports whether this status may mean that a token server does not
// support POST. After other such statuses containerd's client tries GET by itself.
func refusesPost(status int) bool {
	switch status {
	case http.StatusForbidden, http.StatusNotAcceptable, http.StatusGone, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return true
	}
	return false
}

// plainToken returns a token server's response with the fields that count, in the
// form of the specification. Other responses are returned unchanged.
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
	// A token without a known lifetime is used until it is refused.
	if seconds, err := strconv.ParseFloat(strings.Trim(string(said.ExpiresIn), `"`), 64); err == nil && seconds >= 1 && seconds < 1<<31 {
		plain["expires_in"] = int64(seconds)
	}
	out, err := json.Marshal(plain)
	if err != nil {
		return data
	}
	return out
}
