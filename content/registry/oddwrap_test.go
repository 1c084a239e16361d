package registry_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// What a request is.
func isManifest(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
func isStart(r *http.Request) bool    { return r.Method == http.MethodPost }
func isMount(r *http.Request) bool    { return isStart(r) && r.URL.Query().Has("mount") }
func isPut(r *http.Request) bool      { return r.Method == http.MethodPut }
func isHead(r *http.Request) bool     { return r.Method == http.MethodHead }
func isGet(r *http.Request) bool      { return r.Method == http.MethodGet }
func isToRead(r *http.Request) bool   { return isGet(r) || isHead(r) }

func isBlob(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, "/uploads/")
}

func both(a, b func(*http.Request) bool) func(*http.Request) bool {
	return func(r *http.Request) bool { return a(r) && b(r) }
}

// wrap puts an oddity before a registry.
type wrap func(o *odd, next http.Handler) http.Handler

// instead answers the requests that match by other means.
func instead(match func(*http.Request) bool, answer http.HandlerFunc) wrap {
	return func(_ *odd, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if match(r) {
				answer(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// status answers the requests that match with a status and nothing else.
func status(match func(*http.Request) bool, code int) wrap {
	return instead(match, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

// first restricts an oddity to the first requests that match.
func first(n int32, match func(*http.Request) bool) func(*http.Request) bool {
	var seen atomic.Int32
	return func(r *http.Request) bool { return match(r) && seen.Add(1) <= n }
}

// edited changes answers before they are sent.
func edited(match func(*http.Request) bool, change func(o *odd, r *http.Request, a *httptest.ResponseRecorder)) wrap {
	return func(o *odd, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !match(r) {
				next.ServeHTTP(w, r)
				return
			}
			a := httptest.NewRecorder()
			next.ServeHTTP(a, r)
			change(o, r, a)
			maps.Copy(w.Header(), a.Header())
			w.WriteHeader(a.Code)
			_, _ = w.Write(a.Body.Bytes())
		})
	}
}

// header sets a header in successful answers; an empty value takes it out.
func header(match func(*http.Request) bool, key, value string) wrap {
	return edited(match, func(_ *odd, _ *http.Request, a *httptest.ResponseRecorder) {
		switch {
		case a.Code >= 300:
		case value == "":
			a.Header()[http.CanonicalHeaderKey(key)] = nil // or net/http puts one in
		default:
			a.Header().Set(key, value)
		}
	})
}

// located gives the starts of uploads another form of Location: of the form's
// parts, PATH and HOST are what the answer has.
func located(form string) wrap {
	return edited(isStart, func(_ *odd, r *http.Request, a *httptest.ResponseRecorder) {
		path := strings.TrimPrefix(a.Header().Get("Location"), "http://"+r.Host)
		id := path[strings.LastIndex(path, "/")+1:]
		a.Header().Set("Location", strings.NewReplacer("PATH", path, "HOST", r.Host, "ID", id).Replace(form))
	})
}

// moved redirects to the registry's other address, where the path begins with
// /moved.
func moved(match func(*http.Request) bool, code int) wrap {
	return func(o *odd, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if path, ok := strings.CutPrefix(r.URL.Path, "/moved"); ok {
				// Whoever signed the address gave the right to it, and to GET.
				if r.Header.Get("Authorization") != "" || isHead(r) {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				r.URL.Path = path
				next.ServeHTTP(w, r)
				return
			}
			if match(r) {
				http.Redirect(w, r, o.other.URL+"/moved"+r.URL.RequestURI(), code)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// cutThen sends half of the first blob that is asked for and breaks off. It
// answers requests for ranges by other means.
func cutThen(ranges http.HandlerFunc) wrap {
	return func(_ *odd, next http.Handler) http.Handler {
		cut := first(1, both(isGet, isBlob))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Header.Get("Range") != "" && ranges != nil:
				ranges(w, r)
			case r.Header.Get("Range") != "":
				r.Header.Del("Range")
				next.ServeHTTP(w, r)
			case cut(r):
				a := httptest.NewRecorder()
				next.ServeHTTP(a, r)
				sendPart(w, a.Body.Bytes(), a.Body.Len()/2)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}

// sendPart promises some bytes, sends the first n, and breaks off.
func sendPart(w http.ResponseWriter, data []byte, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(data[:n])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// part sends a part of what is asked for and then does something else.
func part(match func(*http.Request) bool, share func(size int) int, then func(r *http.Request)) wrap {
	return func(_ *odd, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !isGet(r) || !match(r) {
				next.ServeHTTP(w, r)
				return
			}
			a := httptest.NewRecorder()
			next.ServeHTTP(a, r)
			maps.Copy(w.Header(), a.Header())
			w.WriteHeader(a.Code)
			_, _ = w.Write(a.Body.Bytes()[:share(a.Body.Len())])
			_ = http.NewResponseController(w).Flush()
			then(r)
		})
	}
}

func abort(*http.Request) { panic(http.ErrAbortHandler) }
func hang(r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

func none(int) int      { return 0 }
func half(size int) int { return size / 2 }

// once is for oddities that keep count: each registry gets its own.
func once(n int32, match func(*http.Request) bool, do func(match func(*http.Request) bool) wrap) wrap {
	return func(o *odd, next http.Handler) http.Handler { return do(first(n, match))(o, next) }
}

// requests checks how many requests have these parts.
func requests(n int, parts ...string) func(*testing.T, *odd) {
	return func(t *testing.T, o *odd) {
		t.Helper()
		if got := o.count(parts...); got > n {
			t.Errorf("%d requests with %q, want %d at most", got, parts, n)
		}
	}
}

func busy(after string) func(func(*http.Request) bool) wrap {
	return func(match func(*http.Request) bool) wrap {
		return instead(match, func(w http.ResponseWriter, _ *http.Request) {
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(http.StatusTooManyRequests)
		})
	}
}

func forgets(code string) func(func(*http.Request) bool) wrap {
	return func(match func(*http.Request) bool) wrap {
		return instead(match, func(w http.ResponseWriter, _ *http.Request) { refuseWith(w, http.StatusNotFound, code) })
	}
}

func code(status int) func(*odd, *http.Request, *httptest.ResponseRecorder) {
	return func(_ *odd, _ *http.Request, a *httptest.ResponseRecorder) {
		if a.Code < 300 {
			a.Code = status
		}
	}
}

func always(*http.Request) bool { return true }

// then puts a second oddity behind a first.
func (w wrap) then(inner wrap) wrap {
	return func(o *odd, next http.Handler) http.Handler { return w(o, inner(o, next)) }
}
