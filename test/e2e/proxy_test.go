package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/veneer-build/veneer/test/harness"
)

// proxy stands before a real registry, counts what goes by, and breaks it.
type proxy struct {
	server *httptest.Server
	addr   string

	mu       sync.Mutex
	requests []string
	// up and down are the bytes of bodies to and from the registry.
	up, down int64
	// fault, if set, may hold up or break a request; n counts from 1.
	fault func(n int, w http.ResponseWriter, r *http.Request) http.ResponseWriter
}

func newProxy(t *testing.T, r *harness.Registry) *proxy {
	t.Helper()
	target, err := url.Parse(r.URL())
	must(t, err)
	back := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(target)
			pr.Out.Host = pr.In.Host // the registry makes its addresses of it
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p := &proxy{}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests = append(p.requests, r.Method+" "+r.URL.String()+" "+r.Header.Get("Range"))
		n, fault := len(p.requests), p.fault
		p.mu.Unlock()
		if fault != nil {
			w = fault(n, w, r)
		}
		r.Body = &countedBody{ReadCloser: r.Body, p: p}
		back.ServeHTTP(&countedWriter{ResponseWriter: w, p: p}, r)
	}))
	t.Cleanup(func() {
		p.server.CloseClientConnections() // what was held up is not waited for
		p.server.Close()
	})
	p.addr = strings.TrimPrefix(p.server.URL, "http://")
	return p
}

// reset sets the counters to nothing, and what breaks requests from now on.
func (p *proxy) reset(fault func(int, http.ResponseWriter, *http.Request) http.ResponseWriter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.up, p.down, p.fault = nil, 0, 0, fault
}

// count returns how many requests hold a text.
func (p *proxy) count(text string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.requests {
		if strings.Contains(r, text) {
			n++
		}
	}
	return n
}

func (p *proxy) bytes() (up, down int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up, p.down
}

// cut returns a fault that breaks the connections of so many requests from the
// nth on; half: in the middle of the response's body, where there is one.
func cut(first, times int, half bool) func(int, http.ResponseWriter, *http.Request) http.ResponseWriter {
	return func(n int, w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		switch {
		case n < first || n >= first+times:
			return w
		case half && r.Method == http.MethodGet:
			return &cutWriter{ResponseWriter: w}
		}
		panic(http.ErrAbortHandler)
	}
}

// cutWriter lets one write of the body by, by half.
type cutWriter struct{ http.ResponseWriter }

func (c *cutWriter) Write(p []byte) (int, error) {
	if _, err := c.ResponseWriter.Write(p[:len(p)/2]); err == nil {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
	}
	panic(http.ErrAbortHandler)
}

func (c *cutWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

type countedBody struct {
	io.ReadCloser
	p *proxy
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.p.mu.Lock()
	b.p.up += int64(n)
	b.p.mu.Unlock()
	return n, err
}

type countedWriter struct {
	http.ResponseWriter
	p *proxy
}

func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.p.mu.Lock()
	w.p.down += int64(n)
	w.p.mu.Unlock()
	return n, err
}

func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
