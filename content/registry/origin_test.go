package registry_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/registry"
)

// know stores the password for more hosts.
func know(t *testing.T, opts registry.Options, hosts ...string) {
	t.Helper()
	auths := map[string]any{}
	for _, h := range hosts {
		auths[h] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("me:" + password))}
	}
	text, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(opts.DockerConfig, "config.json"), string(text), 0o600)
}

// secure is the registry on HTTPS, with options whose hosts.toml knows its certificate.
func secure(t *testing.T, f *faulty, opts *registry.Options) (host string) {
	t.Helper()
	s := httptest.NewTLSServer(f.Config.Handler)
	t.Cleanup(s.Close)
	host = strings.TrimPrefix(s.URL, "https://")
	if len(opts.HostsDirs) == 0 {
		opts.HostsDirs = []string{t.TempDir()}
	}
	dir := filepath.Join(opts.HostsDirs[0], strings.Replace(host, ":", "_", 1)+"_")
	write(t, filepath.Join(dir, "ca.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), 0o600)
	write(t, filepath.Join(dir, "hosts.toml"), fmt.Sprintf("server = %q\nca = \"ca.crt\"\n", s.URL), 0o600)
	return host
}

// Where a registry redirects to gets no credentials, also where there are some
// for its name, and what it demands is not answered: for manifests, blobs and
// uploads, whatever the scheme of the registry.
func TestRedirectTargetsAreNotAuthorised(t *testing.T) {
	challenges := map[string]string{
		"basic":  `Basic realm="x"`,
		"bearer": `Bearer realm="%s/token",service="s",scope="repository:team/app:pull"`,
	}
	for what, challenge := range challenges {
		for _, tls := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, https %t", what, tls), func(t *testing.T) {
				f := newFaulty(t)
				opts := options(t)
				host := f.host
				if tls {
					host = secure(t, f, &opts)
				}
				var other *httptest.Server
				var tokens atomic.Int32
				other, asked := stranger(t, func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, "/token") {
						tokens.Add(1)
					}
					realm := challenge
					if what == "bearer" {
						realm = fmt.Sprintf(challenge, other.URL)
					}
					w.Header().Set("WWW-Authenticate", realm)
					w.WriteHeader(http.StatusUnauthorized)
				})
				know(t, opts, host, strings.TrimPrefix(other.URL, "http://"))
				ctx, store := storetest.Open(t)
				stored(ctx, t, store, storetest.NewImage(storetest.Spec{Files: []string{"new"}}), host+"/team/new:1")
				for _, part := range []string{"HEAD /v2/team/app/manifests/", "GET /v2/team/app/manifests/", "GET /v2/team/app/blobs/", "HEAD /v2/team/new/", "POST /v2/team/new/"} {
					f.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
						if !strings.HasPrefix(r.Method+" "+r.URL.Path, part) {
							return false
						}
						http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
						return true
					})
					asked.Store(0)
					pullCtx, empty := storetest.Open(t)
					_, err := registry.Pull(pullCtx, empty.Client, host+"/team/app:1", opts)
					if strings.Contains(part, "team/new") {
						_, err = registry.Push(ctx, store.Client, host+"/team/new:1", opts)
					}
					if err == nil || !strings.Contains(err.Error(), "a redirect never gets any") || asked.Load() == 0 {
						t.Errorf("%s: asked %d times, got %v", part, asked.Load(), err)
					}
				}
				if tokens.Load() != 0 {
					t.Errorf("it was asked for %d tokens", tokens.Load())
				}
			})
		}
	}
}

// Tokens come from where the registry says; the password goes there, but in
// clear only if the registry itself is set up so, and not on from there.
func TestWhereTokensComeFrom(t *testing.T) {
	f := newFaulty(t)
	give := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"token":"` + token + `","access_token":"` + token + `"}`))
	}
	var seen atomic.Int32
	look := func(r *http.Request) {
		_ = r.ParseForm()
		if _, secret, _ := r.BasicAuth(); secret == password || r.Form.Get("password") == password {
			seen.Add(1)
		}
	}
	last := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { look(r); give(w, r) }))
	defer last.Close()
	onward := 0
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case onward != 0 && r.Method == http.MethodPost && onward == http.StatusMovedPermanently:
			w.WriteHeader(http.StatusNotFound) // so that it is asked by GET
		case onward != 0:
			http.Redirect(w, r, last.URL+r.URL.Path, onward)
		default:
			look(r)
			give(w, r)
		}
	}))
	defer first.Close()
	f.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer "+token {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+first.URL+`/token",service="s",scope="repository:team/app:pull"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	for _, c := range []struct {
		what          string
		tls, password bool
		onward        int
		seen          bool
		want          string // in the error; empty: it works
	}{
		{what: "a plain registry", password: true, seen: true},
		{what: "a plain registry, redirected", password: true, onward: http.StatusTemporaryRedirect, want: "sends the credentials on"},
		{what: "a plain registry, redirected GET", password: true, onward: http.StatusMovedPermanently, want: "sends the credentials on"},
		{what: "a plain registry, nobody, redirected", onward: http.StatusTemporaryRedirect},
		{what: "HTTPS", tls: true, password: true, want: "in clear"},
		{what: "HTTPS, nobody", tls: true},
	} {
		opts := options(t)
		host := f.host
		if c.tls {
			host = secure(t, f, &opts)
		}
		if c.password {
			know(t, opts, host)
		}
		seen.Store(0)
		onward = c.onward
		ctx, store := storetest.Open(t)
		_, err := registry.Pull(ctx, store.Client, host+"/team/app:1", opts)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.what, err, c.want)
		}
		if (seen.Load() > 0) != c.seen {
			t.Errorf("%s: the password was seen %d times", c.what, seen.Load())
		}
	}
}

// Mirrors are trusted with what is theirs alone.
func TestMirrorsGetTheirOwnCredentials(t *testing.T) {
	f := newFaulty(t)
	opts := options(t)
	opts.HostsDirs = []string{t.TempDir()}
	mirror, asked := stranger(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	write(t, filepath.Join(opts.HostsDirs[0], "example.org", "hosts.toml"),
		fmt.Sprintf("server = %q\n[host.%q]\n", f.URL, mirror.URL), 0o600)
	know(t, opts, f.host, "example.org")
	f.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if _, secret, _ := r.BasicAuth(); secret == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	ctx, store := storetest.Open(t)
	if _, err := registry.Pull(ctx, store.Client, "example.org/team/app:1", opts); err != nil {
		t.Error(err)
	}
	if asked.Load() == 0 {
		t.Error("the mirror was not asked")
	}
}

// Layers that are kept elsewhere are fetched from there when that is asked for,
// and then without end to nobody's patience.
func TestForeignLayers(t *testing.T) {
	f := newFaulty(t)
	hang := make(chan struct{})
	defer close(hang)
	mode := "gives"
	layer := f.img.Layers[1]
	other, asked := stranger(t, func(w http.ResponseWriter, r *http.Request) {
		switch mode {
		case "gives":
			_, _ = w.Write(layer.Bytes)
		case "lies":
			_, _ = w.Write(make([]byte, len(layer.Bytes)))
		case "lies first", "breaks off first":
			switch {
			case strings.HasSuffix(r.URL.Path, "/second"):
				_, _ = w.Write(layer.Bytes)
			case mode == "lies first":
				_, _ = w.Write(make([]byte, len(layer.Bytes)-1))
			default:
				sendPart(w, layer.Bytes, len(layer.Bytes)/2)
			}
		case "hangs":
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}
	})
	foreign := layer.Descriptor
	foreign.MediaType = images.MediaTypeDockerSchema2LayerForeignGzip
	foreign.URLs = []string{"ftp://nowhere.example/x", other.URL + "/latest/meta-data", other.URL + "/second"}
	var m ocispec.Manifest
	if err := json.Unmarshal(f.img.Manifest.Bytes, &m); err != nil {
		t.Fatal(err)
	}
	m.Layers[1] = foreign
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	gone := true
	f.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if gone && strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return documents(func(w http.ResponseWriter, _ *http.Request) { send(w, m.MediaType, string(text)) })(w, r)
	})
	opts := options(t)
	pull := func(allow bool) error {
		opts.ForeignLayers = allow
		ctx, store := storetest.Open(t)
		_, err := registry.Pull(ctx, store.Client, f.name, opts)
		return err
	}
	if err := pull(false); err == nil || !errors.Is(err, registry.ErrForeignLayer) || asked.Load() != 0 {
		t.Errorf("not asked for: asked %d times, got %v", asked.Load(), err)
	}
	if err := pull(true); err != nil || asked.Load() != 1 {
		t.Errorf("asked %d times, got %v", asked.Load(), err)
	}
	mode = "lies"
	says := func(err error, words ...string) {
		t.Helper()
		for _, word := range append(words, layer.Digest.String(), other.URL+"/second") {
			if !errors.Is(err, registry.ErrElsewhere) || !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %v, want %q in it", mode, err, word)
			}
		}
	}
	says(pull(true), "unexpected commit digest")
	for _, mode = range []string{"lies first", "breaks off first"} {
		if err := pull(true); err != nil {
			t.Errorf("%s: the second address has it: %v", mode, err)
		}
	}
	mode, opts.Stall = "hangs", 50*time.Millisecond
	says(pull(true), "timeout awaiting")
	mode, gone = "gives", false
	asked.Store(0)
	if err := pull(false); err != nil || asked.Load() != 0 {
		t.Errorf("the registry has it: asked %d times, got %v", asked.Load(), err)
	}
}
