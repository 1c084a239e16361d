package main

import (
	"archive/tar"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/veneer-build/veneer"
)

// TestRemoteContexts: a URL is a Dockerfile or an archive with one, and a repository
// is left to git.
func TestRemoteContexts(t *testing.T) {
	var packed bytes.Buffer
	tw := tar.NewWriter(&packed)
	for name, text := range map[string]string{"Dockerfile": "FROM scratch\n", "other/File": "FROM other\n"} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/context.tar":
			_, _ = w.Write(packed.Bytes()) // The test notices.
		case "/Some.Dockerfile":
			_, _ = w.Write([]byte("FROM some\n")) // The test notices.
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	a := newApp(streams{in: strings.NewReader("FROM stdin\n")}, os.LookupEnv)
	for _, c := range []struct{ from, file, text, name, fails string }{
		{"/context.tar", "", "FROM scratch\n", "Dockerfile", ""},
		{"/context.tar", "other/File", "FROM other\n", "other/File", ""},
		{"/Some.Dockerfile", "", "FROM some\n", "Some.Dockerfile", ""},
		{"/context.tar", "none", "", "", "none"},
		{"/none", "", "", "", "404"},
		{"/Some.Dockerfile", "-", "", "", "--file -"},
	} {
		var req veneer.DockerfileRequest
		end, err := a.readRemote(t.Context(), server.URL+c.from, c.file, &req)
		end()
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s, %s: error %v", c.from, c.file, err)
			}
			continue
		}
		if err != nil || string(req.Dockerfile) != c.text || req.Name != c.name || (req.ContextTree != nil) != strings.HasSuffix(c.from, ".tar") {
			t.Errorf("%s, %s: %q, %q, %v", c.from, c.file, req.Dockerfile, req.Name, err)
		}
	}
	for from, repository := range map[string]bool{
		"https://example.org/a.git#b:c": true, "git@example.org:a/b": true, "ssh://git@example.org/a": true, "git://example.org/a": true,
		"github.com/a/b": true, "https://example.org/a.tar": false, "app:1": false, "./a": false, "ext::sh -c x": false, "http://example.org/Dockerfile": false,
	} {
		if got := veneer.IsRepository(from); got != repository {
			t.Errorf("%s is a repository: %t", from, got)
		}
	}
	var req veneer.DockerfileRequest
	if _, err := a.readRemote(t.Context(), "https://example.org/a.git#b", "-", &req); err != nil || req.Repository != "https://example.org/a.git#b" || string(req.Dockerfile) != "FROM stdin\n" {
		t.Errorf("a repository with a Dockerfile of standard input: %+v, %v", req.DockerfileInput, err)
	}
	if _, err := a.readRemote(t.Context(), "foo://example.org/a", "", &req); err == nil {
		t.Error("foo://: no error")
	}
}
