package registry_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content/internal/storetest"
)

// oldHTTP speaks HTTP/1.0: no lengths, and an answer ends with the connection.
func oldHTTP(_ *odd, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := httptest.NewRecorder()
		next.ServeHTTP(a, r)
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer func() { _ = conn.Close() }() // the end of the answer
		a.Header().Del("Content-Length")
		_, _ = fmt.Fprintf(buf, "HTTP/1.0 %d %s\r\n", a.Code, http.StatusText(a.Code))
		_ = a.Header().Write(buf)
		_, _ = buf.WriteString("\r\n")
		if !isHead(r) {
			_, _ = buf.Write(a.Body.Bytes())
		}
		_ = buf.Flush()
	})
}

// noLength sends all in chunks.
func noLength(_ *odd, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := httptest.NewRecorder()
		next.ServeHTTP(a, r)
		a.Header().Del("Content-Length")
		maps.Copy(w.Header(), a.Header())
		w.WriteHeader(a.Code)
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(a.Body.Bytes())
	})
}

// escaped has uploads whose names have a slash in them.
func escaped(_ *odd, next http.Handler) http.Handler {
	return edited(always, func(_ *odd, r *http.Request, a *httptest.ResponseRecorder) {
		if isStart(r) {
			a.Header().Set("Location", strings.Replace(a.Header().Get("Location"), "/uploads/", "/uploads/a%2Fb%20c", 1))
		}
	})(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPut(r) && !isManifest(r) {
			if !strings.Contains(r.URL.EscapedPath(), "/uploads/a%2Fb%20c") {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			r.URL.Path = strings.Replace(r.URL.Path, "a/b c", "", 1)
		}
		next.ServeHTTP(w, r)
	}))
}

// unmounted answers mounts as it answers the starts of uploads, with a status.
func unmounted(status int) wrap {
	return func(_ *odd, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !isMount(r) {
				next.ServeHTTP(w, r)
				return
			}
			r.URL.RawQuery = ""
			edited(always, code(status))(nil, next).ServeHTTP(w, r)
		})
	}
}

// encoded compresses what it sends for those who take that.
func encoded(_ *odd, next http.Handler) http.Handler {
	return edited(isGet, func(_ *odd, r *http.Request, a *httptest.ResponseRecorder) {
		if a.Code != http.StatusOK || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			return
		}
		data := storetest.Gzip(a.Body.Bytes())
		a.Body.Reset()
		_, _ = a.Body.Write(data)
		a.Header().Set("Content-Encoding", "gzip")
		a.Header().Set("Content-Length", strconv.Itoa(len(data)))
	})(nil, next)
}

// shorter sends less of blobs than there is, as if it were all.
func shorter(_ *odd, next http.Handler) http.Handler {
	return edited(both(isGet, isBlob), func(_ *odd, _ *http.Request, a *httptest.ResponseRecorder) {
		a.Body.Truncate(a.Body.Len() / 2)
		a.Header().Set("Content-Length", strconv.Itoa(a.Body.Len()))
	})(nil, next)
}

// page answers as what is no registry does.
func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = fmt.Fprint(w, "<html>welcome</html>")
}

// wrongDigest sends a manifest under another digest.
func wrongDigest(_ *odd, r *http.Request, a *httptest.ResponseRecorder) {
	if !strings.Contains(r.URL.Path, "sha256:") {
		a.Header().Set("Docker-Content-Digest", digest.FromString("another").String())
		return
	}
	a.Code = http.StatusOK
	a.Body.Reset()
	_, _ = a.Body.WriteString("{}")
	a.Header().Set("Content-Length", "2")
}

// checkState: what the query of an upload's address said is said again.
func checkState(t *testing.T, o *odd) {
	t.Helper()
	if puts, all := o.count("PUT", "_state=a%3D+b", "digest="), o.count("PUT", "/blobs/"); puts != all || all == 0 {
		t.Errorf("%d of %d uploads have the registry's query", puts, all)
	}
}

// checkMoved: all uploads go to the registry that took on the upload.
func checkMoved(t *testing.T, o *odd) {
	t.Helper()
	other := strings.TrimPrefix(o.other.URL, "http://")
	if there, all := o.count("PUT "+other, "/blobs/"), o.count("PUT", "/blobs/"); there != all || all == 0 {
		t.Errorf("%d of %d uploads went to where the start of the upload was redirected", there, all)
	}
}

// flipped changes a bit of an answer.
func flipped(_ *odd, _ *http.Request, a *httptest.ResponseRecorder) { a.Body.Bytes()[0] ^= 1 }

// configOnly answers with the config of the image, whichever blob was asked for. It also
// takes a range for one of that.
func configOnly(o *odd, r *http.Request, a *httptest.ResponseRecorder) {
	config := oddImage().Config.Bytes
	*a = *httptest.NewRecorder()
	o.read(a, r, "application/octet-stream", config)
}

// zeroRange answers with zeros for the range that was asked for.
func zeroRange(w http.ResponseWriter, r *http.Request) {
	var from int
	_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
	img := oddImage()
	for _, b := range append(img.Layers, img.Config) {
		if strings.HasSuffix(r.URL.Path, b.Digest.String()) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b.Bytes)-1, len(b.Bytes)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, len(b.Bytes)-from))
		}
	}
}

// resized changes how many bytes an answer has, and says so.
func resized(change func([]byte) []byte) func(*odd, *http.Request, *httptest.ResponseRecorder) {
	return func(_ *odd, _ *http.Request, a *httptest.ResponseRecorder) {
		data := change(a.Body.Bytes())
		a.Body = bytes.NewBuffer(data)
		a.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
}
