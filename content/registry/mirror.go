package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// overHosts calls f again as long as a mirror that f had its content from can
// be left out: one that promised and did not keep it, or sent something else.
// Containerd's client goes on to the next host where one refuses, but not
// where its content is wrong. Within one attempt a mirror that is left out
// stays so, so there are as many calls as hosts; the next attempt asks it again.
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

// leftOut returns why a mirror is to be asked no more; nil if it is. The error
// has just the text: what it says of a mirror does not hold for the next host.
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

// leaveOut leaves out the mirror that served last, if one did.
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

// mirrored reports whether it was a mirror that served last.
func (a *attempt) mirrored() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mirror != ""
}

// serves notes who serves. The body that it returns leaves out a mirror that
// breaks off, so that the rest is asked of the next host.
func (a *attempt) serves(l *lenient, body io.ReadCloser) io.ReadCloser {
	a.mu.Lock()
	defer a.mu.Unlock()
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

// answeredLast notes what the last host refuses with.
func (a *attempt) answeredLast(resp *http.Response, err error) {
	if err == nil && resp.StatusCode >= 400 {
		err = unexpected(resp)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = err
}

// withLast puts the last host's error before that of the mirrors, which is the
// one that containerd's client returns.
func (a *attempt) withLast(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.without) == 0 || a.last == nil {
		return err
	}
	return fmt.Errorf("%w (and of a mirror before: %s)", a.last, err.Error())
}
