package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// overHosts calls f, and again after each failure that was a mirror's fault: the
// mirror offered content and did not send it, or sent other content. That mirror is
// left out for the rest of the attempt, so there are at most as many calls as
// hosts. Containerd's client tries the next host only if one refuses, not if its
// content is wrong.
func overHosts(ctx context.Context, f func(context.Context) error) error {
	try := attemptOf(ctx)
	for {
		err := f(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !try.leaveOut(err) {
			return try.withLast(err)
		}
	}
}

// leftOut returns the reason why a mirror is left out, or nil. The error has the
// text only: its kind would be wrong for the next host.
func (a *attempt) leftOut(host string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.without[host]; err != nil {
		return brokenError("the mirror is left out: " + err.Error())
	}
	return nil
}

// leave leaves out a mirror.
func (a *attempt) leave(host string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.without == nil {
		a.without = map[string]error{}
	}
	a.without[host] = err
}

// leaveOut leaves out the mirror that answered last. It returns false if that was
// not a mirror.
func (a *attempt) leaveOut(err error) bool {
	a.mu.Lock()
	host := a.mirror
	a.mirror = ""
	a.mu.Unlock()
	if host == "" {
		return false
	}
	a.leave(host, err)
	return true
}

// mirrored reports whether a mirror answered last.
func (a *attempt) mirrored() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mirror != ""
}

// sent says of what was fetched which host answered last, "" if none has, and whether
// a part of it came by a request for a range.
func (a *attempt) sent() (by string, inParts bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sender, a.inParts
}

// serves notes which host answers, the last of redirects. If the host is a mirror and
// the returned body breaks off, the mirror is left out, so that the rest comes from the
// next host.
func (a *attempt) serves(l *lenient, resp *http.Response) io.ReadCloser {
	a.mu.Lock()
	defer a.mu.Unlock()
	body := resp.Body
	a.sender = originOf(resp.Request.URL)
	a.inParts = a.inParts || resp.StatusCode == http.StatusPartialContent
	if l.last {
		a.mirror = ""
		return body
	}
	a.mirror = l.root.Host
	return &mirrorBody{ReadCloser: body, try: a, host: l.root.Host}
}

type mirrorBody struct {
	io.ReadCloser
	try  *attempt
	host string
}

func (m *mirrorBody) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		m.try.leave(m.host, err)
	}
	return n, err
}

// answeredLast notes the refusal of the last host.
func (a *attempt) answeredLast(resp *http.Response, err error) {
	if err == nil && resp.StatusCode >= 400 {
		err = unexpected(resp)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = err
}

// withLast puts the last host's error before that of the mirrors, which
// containerd's client returns.
func (a *attempt) withLast(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.without) == 0 || a.last == nil {
		return err
	}
	return fmt.Errorf("%w (and of a mirror before: %s)", a.last, err.Error())
}
