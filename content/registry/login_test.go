package registry_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/registry"
)

// TestLogin: what a registry takes is stored where a pull looks for it, by either way
// of logging in; what it does not take changes nothing.
func TestLogin(t *testing.T) {
	for _, way := range []string{"basic", "token"} {
		t.Run(way, func(t *testing.T) {
			srv := newServer(t)
			ctx, s := storetest.Open(t)
			name := srv.host + "/private/app:1"
			stored(ctx, t, s, storetest.NewImage(storetest.Spec{Files: []string{"a"}}), name)
			srv.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
				user, secret, _ := r.BasicAuth()
				known := user == "me" && secret == "s3cret"
				switch {
				case r.URL.Path == "/token" && known:
					_ = json.NewEncoder(w).Encode(map[string]string{"token": "t0ken"})
					return true
				case way == "basic" && known, way == "token" && r.Header.Get("Authorization") == "Bearer t0ken":
					return false
				case way == "basic":
					w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
				case r.URL.Path != "/token":
					w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token",service="s"`)
				}
				w.WriteHeader(http.StatusUnauthorized)
				return true
			})
			opts := options(t)
			config := filepath.Join(opts.DockerConfig, "config.json")
			write(t, config, `{"HttpHeaders":{"kept":"yes"},"auths":{"other.example.org":{"auth":"YTpi"}}}`, 0o600)
			before, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := registry.Login(ctx, srv.host, "me", "wrong", opts); err == nil || !strings.Contains(err.Error(), "does not take") {
				t.Errorf("a wrong password: %v", err)
			}
			if after, err := os.ReadFile(config); err != nil || string(after) != string(before) {
				t.Errorf("a wrong password is stored: %s, %v", after, err)
			}
			if err := registry.Login(ctx, srv.host, "me", "s3cret", opts); err != nil {
				t.Fatal(err)
			}
			if _, err := registry.Push(ctx, s.Client, name, opts); err != nil {
				t.Errorf("push: %v", err)
			}
			after, err := os.ReadFile(config)
			if err != nil || !strings.Contains(string(after), `"kept": "yes"`) || !strings.Contains(string(after), "other.example.org") {
				t.Errorf("the rest of the config: %s, %v", after, err)
			}
			if err := registry.Logout(srv.host, opts); err != nil {
				t.Error(err)
			}
			if _, err := registry.Push(ctx, s.Client, name, opts); err == nil {
				t.Error("pushed after logging out")
			}
			if err := registry.Logout(srv.host, opts); !errors.Is(err, registry.ErrNotLoggedIn) {
				t.Errorf("log out twice: %v", err)
			}
		})
	}
}

// TestLoginHelper: a credential helper gets what it is for, and the config nothing.
func TestLoginHelper(t *testing.T) {
	srv := newServer(t) // It asks nobody.
	bin, opts := t.TempDir(), options(t)
	write(t, filepath.Join(bin, "docker-credential-veneertest"), "#!/bin/sh\ncat >>"+bin+"/got; echo \"$1\" >>"+bin+"/verbs\n", 0o700)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	config := filepath.Join(opts.DockerConfig, "config.json")
	write(t, config, `{"credHelpers":{"`+srv.host+`":"veneertest"}}`, 0o600)
	if err := registry.Login(t.Context(), srv.host, "me", "s3cret", opts); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(bin, "got"))
	if err != nil || !strings.Contains(string(got), `"Secret":"s3cret"`) || !strings.Contains(string(got), `"Username":"me"`) {
		t.Errorf("the helper got %s, %v", got, err)
	}
	if data, err := os.ReadFile(config); err != nil || strings.Contains(string(data), "auth\"") {
		t.Errorf("config: %s, %v", data, err)
	}
}

func TestHostName(t *testing.T) {
	for text, want := range map[string]string{
		"": "docker.io", "docker.io": "docker.io", "index.docker.io": "docker.io", "https://index.docker.io/v1/": "docker.io",
		"registry.example.org:5000": "registry.example.org:5000", "https://ghcr.io/v2/": "ghcr.io", "localhost": "localhost",
	} {
		if got, err := registry.HostName(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := registry.HostName("a b"); err == nil {
		t.Error("a blank is taken")
	}
}

// TestDocuments: an image of a registry is read without its layers, and nothing of it
// is held afterwards.
func TestDocuments(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	amd := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"c"}, Arch: "arm64"})
	idx := storetest.NewIndex(amd.Manifest.On("linux", "amd64", ""), arm.Manifest.On("linux", "arm64", ""))
	name := srv.host + "/app:1"
	s.Put(ctx, t, append(append(amd.Blobs(), arm.Blobs()...), idx)...)
	s.Name(ctx, t, name, idx.Descriptor)
	if _, err := registry.Push(ctx, s.Client, name, options(t)); err != nil {
		t.Fatal(err)
	}
	ctx, s = storetest.Open(t)
	srv.misbehave(nil)
	opts := options(t)
	opts.Platform = "linux/arm64"
	img, err := registry.Documents(ctx, s.Client, name, opts)
	if err != nil {
		t.Fatal(err)
	}
	if img.Manifest.Digest != arm.Manifest.Digest || img.Record.Target.Digest != idx.Digest || len(img.Layers) != 1 || len(img.Missing) != 0 || img.Name != name {
		t.Errorf("%+v", img)
	}
	for _, blob := range append(amd.Layers, arm.Layers...) {
		if n := srv.count(blob.Digest.String()); n > 0 {
			t.Errorf("%d requests for the layer %s", n, blob.Digest)
		}
	}
	if n := srv.count(amd.Config.Digest.String()) + srv.count(amd.Manifest.Digest.String()); n > 0 {
		t.Errorf("%d requests for the other platform", n)
	}
	checkNothingOpen(ctx, t, s)
	opts.Platform = "linux/s390x"
	if _, err := registry.Documents(ctx, s.Client, name, opts); err == nil || !strings.Contains(err.Error(), "no image for the platform") {
		t.Errorf("a platform that is not there: %v", err)
	}
}
