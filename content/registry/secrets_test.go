package registry_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/log"

	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/registry"
)

// What must be in no error, in no log, and on no host but the registry.
const (
	password  = "pa55word"
	token     = "t0ken-of-the-registry"
	headerKey = "X-Gateway-Key"
	gateway   = "g4teway"
	signature = "s1gned"
)

// locked is a registry with a password, and options that know it.
func locked(t *testing.T, f *faulty) registry.Options {
	t.Helper()
	opts := options(t)
	auth := base64.StdEncoding.EncodeToString([]byte("me:" + password))
	write(t, filepath.Join(opts.DockerConfig, "config.json"), `{"auths":{"`+f.host+`":{"auth":"`+auth+`"}}}`, 0o600)
	opts.HostsDirs = []string{t.TempDir()}
	write(t, filepath.Join(opts.HostsDirs[0], strings.Replace(f.host, ":", "_", 1)+"_", "hosts.toml"),
		fmt.Sprintf("server = %q\n[header]\n  %s = %q\n", f.URL, headerKey, gateway), 0o600)
	return opts
}

// unlock lets those with the password and the header go on to the rest.
func unlock(rest func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if _, secret, _ := r.BasicAuth(); secret != password || r.Header.Get(headerKey) != gateway {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.Header().Set("Set-Cookie", "session="+signature)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return rest != nil && rest(w, r)
	}
}

// stranger is another host; it complains of what it should not be told.
func stranger(t *testing.T, answer func(http.ResponseWriter, *http.Request)) (host *httptest.Server, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	host = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		for _, key := range []string{"Authorization", "Cookie", "Referer", headerKey} {
			if v := r.Header.Get(key); v != "" {
				t.Errorf("%s %s: the stranger is told %s: %s", r.Method, r.URL, key, v)
			}
		}
		answer(w, r)
	}))
	t.Cleanup(host.Close)
	return host, asked
}

// clean fails the test if a text has a secret in it.
func clean(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{password, token, gateway, signature, base64.StdEncoding.EncodeToString([]byte("me:" + password))} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %s", secret, text)
		}
	}
}

// logged collects what containerd's libraries log, in all detail.
func logged(t *testing.T) *lockedBuffer {
	t.Helper()
	var out lockedBuffer
	logger := log.L.Logger
	before, level, hooks := logger.Out, logger.Level, logger.Hooks
	logger.SetOutput(&out)
	if err := log.SetLevel("trace"); err != nil {
		t.Fatal(err)
	}
	registry.RedactLogs()
	t.Cleanup(func() {
		logger.SetOutput(before)
		logger.SetLevel(level)
		logger.ReplaceHooks(hooks)
	})
	return &out
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Registries send clients elsewhere for blobs: the credentials stay, also
// where only the port differs, and a signed address is in no error.
func TestRedirectsKeepSecrets(t *testing.T) {
	f := newFaulty(t)
	opts := locked(t, f)
	ctx, store := storetest.Open(t)
	lines := logged(t)
	broken := false
	other, asked := stranger(t, func(w http.ResponseWriter, r *http.Request) {
		for _, b := range f.img.Blobs() {
			if strings.HasSuffix(r.URL.Path, b.Digest.String()) && !broken {
				_, _ = w.Write(b.Bytes)
				return
			}
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	f.misbehave(unlock(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		if !strings.HasPrefix(r.URL.Path, "/v2/moved/") { // first to itself
			http.Redirect(w, r, strings.Replace(r.URL.Path, "/v2/", "/v2/moved/", 1), http.StatusTemporaryRedirect)
			return true
		}
		http.Redirect(w, r, other.URL+r.URL.Path+"?X-Amz-Signature="+signature, http.StatusTemporaryRedirect)
		return true
	}))
	if _, err := registry.Pull(ctx, store.Client, f.name, opts); err != nil {
		t.Fatal(err)
	}
	if asked.Load() == 0 {
		t.Error("no blob came from the other host")
	}
	broken = true
	_, err := registry.Pull(f.ctx, f.store.Client, f.name, opts)
	if err == nil || !strings.Contains(err.Error(), "500") {
		t.Fatalf("got %v", err)
	}
	f.unharmed(t)
	other.Close()
	_, gone := registry.Pull(f.ctx, f.store.Client, f.name, opts)
	if gone == nil {
		t.Fatal("pulled from a host that is gone")
	}
	for _, text := range []string{err.Error(), gone.Error(), lines.String()} {
		clean(t, text)
	}
	if !strings.Contains(lines.String(), "do request") {
		t.Error("nothing was logged")
	}
}

// A registry may want an upload elsewhere, too.
func TestUploadsElsewhereKeepSecrets(t *testing.T) {
	f := newFaulty(t)
	opts := locked(t, f)
	lines := logged(t)
	ctx, store := storetest.Open(t)
	name := f.host + "/team/other:1"
	img := storetest.NewImage(storetest.Spec{Files: []string{"c"}})
	stored(ctx, t, store, img, name)
	other, asked := stranger(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sig") != signature {
			t.Errorf("the address lost its signature: %s", r.URL)
		}
		w.WriteHeader(http.StatusForbidden)
	})
	f.misbehave(unlock(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		w.Header().Set("Location", other.URL+"/upload?sig="+signature)
		w.WriteHeader(http.StatusAccepted)
		return true
	}))
	_, err := registry.Push(ctx, store.Client, name, opts)
	if err == nil || !strings.Contains(err.Error(), "403") || asked.Load() == 0 {
		t.Fatalf("got %v", err)
	}
	clean(t, err.Error())
	clean(t, lines.String())
	checkNothingOpen(ctx, t, store)
}

// The token server is not the registry; what it answers is read with care.
func TestTokenServer(t *testing.T) {
	f := newFaulty(t)
	opts := locked(t, f)
	lines := logged(t)
	var answer http.HandlerFunc
	var mu sync.Mutex
	set := func(h http.HandlerFunc) { mu.Lock(); defer mu.Unlock(); answer = h }
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := answer
		mu.Unlock()
		h(w, r)
	}))
	defer tokens.Close()
	f.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer "+token {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`/token",service="s",scope="repository:team/app:pull"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for _, c := range []struct {
		what   string
		answer http.HandlerFunc
		want   string
	}{
		{"403", status(403), "access denied"},
		{"401", status(401), "access denied"},
		{"500", status(500), "500"},
		{"429", status(429), "limits the rate"},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "token response"},
		{"no token", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }, "token"},
		{"a token that is refused", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"token":"x","access_token":"x"}`))
		}, "access denied"},
		{"an endless token", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"access_token":"`))
			for line := bytes.Repeat([]byte("x"), 1<<20); ; {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}, "longer than"},
		{"a broken connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		set(c.answer)
		_, err := registry.Pull(f.ctx, f.store.Client, f.name, opts)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", c.what, err, c.want)
		}
		f.unharmed(t)
		if err != nil {
			clean(t, err.Error())
		}
	}
	var asked atomic.Int32
	set(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if err := r.ParseForm(); err != nil || r.PostForm.Get("password") != password {
			t.Errorf("asked for a token with %v, %v", r.PostForm, err)
		}
		_, _ = w.Write([]byte(`{"access_token":"` + token + `"}`))
	})
	if _, err := registry.Pull(f.ctx, f.store.Client, f.name, opts); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	clean(t, lines.String())
}

func TestUnknownAuthority(t *testing.T) {
	f := newFaulty(t)
	secure := httptest.NewTLSServer(f.Config.Handler)
	defer secure.Close()
	host := strings.TrimPrefix(secure.URL, "https://")
	name := host + "/team/app:1"
	opts := options(t)
	dir := t.TempDir()
	opts.HostsDirs = []string{dir}
	settings := filepath.Join(dir, strings.Replace(host, ":", "_", 1)+"_")
	write(t, filepath.Join(settings, "hosts.toml"), fmt.Sprintf("server = %q\n", secure.URL), 0o600)
	_, err := registry.Pull(f.ctx, f.store.Client, name, opts)
	if err == nil || !strings.Contains(err.Error(), "certs.d/"+host+"/ca.crt") {
		t.Errorf("got %v", err)
	}
	f.unharmed(t)
	write(t, filepath.Join(settings, "ca.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})), 0o600)
	write(t, filepath.Join(settings, "hosts.toml"), fmt.Sprintf("server = %q\nca = \"ca.crt\"\n", secure.URL), 0o600)
	if _, err := registry.Pull(f.ctx, f.store.Client, name, opts); err != nil {
		t.Error(err)
	}
}
