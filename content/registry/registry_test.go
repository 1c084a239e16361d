package registry_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/internal/fault"
)

// server is a registry that can be made to misbehave.
type server struct {
	*httptest.Server
	host string // address and port

	mu       sync.Mutex
	requests []string
	// before, if set, may answer a request itself and return true.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	handler := ranges(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.String())
		before := s.before
		s.mu.Unlock()
		if before == nil || !before(w, r) {
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	s.host = strings.TrimPrefix(s.URL, "http://")
	return s
}

// ranges gives a range an end, without which that registry does not take one.
func ranges(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from, open := strings.CutSuffix(r.Header.Get("Range"), "-"); open {
			head := r.Clone(r.Context())
			head.Method = http.MethodHead
			head.Header.Del("Range")
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, head)
			if size, err := strconv.Atoi(rec.Header().Get("Content-Length")); err == nil {
				r.Header.Set("Range", fmt.Sprintf("%s-%d", from, size-1))
			}
		}
		h.ServeHTTP(w, r)
	})
}

func (s *server) misbehave(before func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
	s.requests = nil
}

// count returns how many requests had this in their method and address.
func (s *server) count(part string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(s.requests), func(r string) bool { return !strings.Contains(r, part) }))
}

// options keep this host's own settings out of the tests.
func options(t *testing.T) registry.Options {
	t.Helper()
	return registry.Options{HostsDirs: []string{}, DockerConfig: t.TempDir(), Backoff: time.Millisecond}
}

func TestPushAndPull(t *testing.T) {
	srv := newServer(t)
	for _, docker := range []bool{false, true} {
		ctx, from := storetest.Open(t)
		img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}, Docker: docker})
		name := fmt.Sprintf("%s/app:docker-%v", srv.host, docker)
		stored(ctx, t, from, img, name)
		pushed, err := registry.Push(ctx, from.Client, name, options(t))
		if err != nil || pushed.Digest != img.Manifest.Digest {
			t.Fatalf("pushed %v, %v", pushed, err)
		}

		ctx, to := storetest.Open(t)
		var mu sync.Mutex
		finished := map[digest.Digest]int64{}
		opts := options(t)
		opts.Progress = func(e registry.Event) {
			mu.Lock()
			defer mu.Unlock()
			finished[e.Blob.Digest] = max(finished[e.Blob.Digest], e.Done)
		}
		got, err := registry.Pull(ctx, to.Client, name, opts)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != name || got.Target.Digest != img.Manifest.Digest {
			t.Errorf("pulled %+v", got)
		}
		for _, b := range img.Blobs() {
			if finished[b.Digest] != b.Size {
				t.Errorf("progress of %s: %d of %d", b.Digest, finished[b.Digest], b.Size)
			}
		}
		to.Collect(ctx, t)
		r, err := content.Resolve(ctx, to.Client, name, "")
		if err != nil || len(r.Missing) > 0 || r.Docker != docker {
			t.Errorf("resolved %+v, %v", r, err)
		}
		if l := to.Blobs(ctx, t)[img.Layers[0].Digest]["containerd.io/distribution.source."+strings.Split(srv.host, ":")[0]]; l != "app" {
			t.Errorf("source label %q", l)
		}
		checkNothingOpen(ctx, t, to)
	}
}

// A registry that accepts a tag which it has, and keeps what it meant, is told apart from one that has it a moment later.
func TestPushOfATagThatStays(t *testing.T) {
	srv := newServer(t)
	ctx, store := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	name := srv.host + "/app:1"
	stored(ctx, t, store, img, name)
	old := digest.FromString("old").String()
	for _, c := range []struct {
		times int
		fails bool
	}{{times: 3}, {times: 1 << 20, fails: true}} {
		left := c.times
		srv.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/1") || left == 0 {
				return false
			}
			w.Header().Set("Docker-Content-Digest", old)
			w.Header().Set("Content-Type", img.Manifest.MediaType)
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", "3")
				return true
			}
			left--
			_, _ = io.WriteString(w, "old")
			return true
		})
		_, err := registry.Push(ctx, store.Client, name, options(t))
		if c.fails != (err != nil) || err != nil && (!strings.Contains(err.Error(), old) || !strings.Contains(err.Error(), img.Manifest.Digest.String())) {
			t.Errorf("old %d times: %v", c.times, err)
		}
	}
	srv.misbehave(nil)
	if _, err := registry.Push(ctx, store.Client, name+"@"+img.Manifest.Digest.String(), options(t)); err != nil {
		t.Error("by digest:", err)
	}
	checkNothingOpen(ctx, t, store)
}

// Layers may come by other means, before they are fetched. The rest is fetched, and an
// image that is here is no call.
func TestLayersByOtherMeans(t *testing.T) {
	srv := newServer(t)
	ctx, from := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	name := srv.host + "/app:1"
	stored(ctx, t, from, img, name)
	if _, err := registry.Push(ctx, from.Client, name, options(t)); err != nil {
		t.Fatal(err)
	}
	for _, fails := range []bool{false, true} {
		ctx, to := storetest.Open(t)
		opts := options(t)
		calls := 0
		opts.Layers = func(ctx context.Context, r *registry.Remote, got *content.Image) error {
			if calls++; got.Manifest.Digest != img.Manifest.Digest || len(got.Missing) != 2 || r.Name != name {
				t.Errorf("called with %+v", got)
			}
			to.Put(ctx, t, img.Layers[0])
			if fails {
				return errors.New("no more")
			}
			return nil
		}
		srv.misbehave(nil)
		for range 2 {
			_, err := registry.Pull(ctx, to.Client, name, opts)
			if fails {
				if err == nil || !strings.Contains(err.Error(), "no more") {
					t.Error(err)
				}
				checkNothingLeft(ctx, t, to)
				break
			}
			if err != nil {
				t.Error(err)
			}
			checkNothingOpen(ctx, t, to)
		}
		if gets := srv.count("GET /v2/app/blobs/" + img.Layers[0].Digest.String()); gets != 0 || calls != 1 {
			t.Errorf("%d calls, and the layer was fetched %d times", calls, gets)
		}
		if heads := srv.count("HEAD"); heads > 2 {
			t.Errorf("%d requests for the name by two pulls", heads)
		}
		if r, err := content.Resolve(ctx, to.Client, name, ""); !fails && (err != nil || len(r.Missing) > 0) {
			t.Errorf("resolved %+v, %v", r, err)
		}
	}
}

func TestPullKeepsForeignLabels(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	name := srv.host + "/app:1"
	stored(ctx, t, s, storetest.NewImage(storetest.Spec{Files: []string{"a"}}), name)
	if _, err := registry.Push(ctx, s.Client, name, options(t)); err != nil {
		t.Fatal(err)
	}
	ctx, to := storetest.Open(t)
	if _, err := to.ImageService().Create(ctx, images.Image{
		Name: name, Labels: map[string]string{"io.cri-containerd.pinned": "pinned"},
		Target: storetest.JSON(ocispec.MediaTypeImageManifest, "{}").Descriptor,
	}); err != nil {
		t.Fatal(err)
	}
	got, err := registry.Pull(ctx, to.Client, name, options(t))
	if err != nil || got.Labels["io.cri-containerd.pinned"] != "pinned" {
		t.Errorf("pulled %+v, %v", got, err)
	}
}

func TestPlatforms(t *testing.T) {
	srv := newServer(t)
	ctx, from := storetest.Open(t)
	amd := storetest.NewImage(storetest.Spec{Files: []string{"amd"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"arm"}, Arch: "arm64"})
	idx := storetest.NewIndex(amd.Manifest.On("linux", "amd64", ""), arm.Manifest.On("linux", "arm64", ""))
	name := srv.host + "/multi:1"
	from.Put(ctx, t, append(append(amd.Blobs(), arm.Blobs()...), idx)...)
	from.Name(ctx, t, name, idx.Descriptor)
	if _, err := registry.Push(ctx, from.Client, name, options(t)); err != nil {
		t.Fatal(err)
	}
	one := srv.host + "/one:1"
	from.Name(ctx, t, one, idx.Descriptor)
	opts := options(t)
	opts.Platform = "linux/arm64"
	if d, err := registry.Push(ctx, from.Client, one, opts); err != nil || d.Digest != arm.Manifest.Digest {
		t.Fatalf("pushed one platform: %v, %v", d, err)
	}
	if got, err := registry.Pull(ctx, from.Client, one, opts); err != nil || got.Target.Digest != arm.Manifest.Digest {
		t.Errorf("pulled one platform: %v, %v", got, err)
	}

	for _, c := range []struct {
		platform string
		all      bool
		here     []storetest.Image
		not      []storetest.Image
	}{
		{"linux/arm64", false, []storetest.Image{arm}, []storetest.Image{amd}},
		{"linux/amd64", false, []storetest.Image{amd}, []storetest.Image{arm}},
		{"", true, []storetest.Image{amd, arm}, nil},
	} {
		ctx, to := storetest.Open(t)
		opts := options(t)
		opts.Platform, opts.AllPlatforms = c.platform, c.all
		got, err := registry.Pull(ctx, to.Client, name, opts)
		if err != nil {
			t.Fatal(err)
		}
		if got.Target.Digest != idx.Digest {
			t.Errorf("%s: target %s", c.platform, got.Target.Digest)
		}
		blobs := to.Blobs(ctx, t)
		for _, img := range c.here {
			if _, ok := blobs[img.Layers[0].Digest]; !ok {
				t.Errorf("%s, all %v: a layer is missing", c.platform, c.all)
			}
		}
		for _, img := range c.not {
			if _, ok := blobs[img.Layers[0].Digest]; ok {
				t.Errorf("%s: another platform's layer was fetched", c.platform)
			}
		}
	}
	ctx, to := storetest.Open(t)
	opts.Platform = "linux/s390x"
	if _, err := registry.Pull(ctx, to.Client, name, opts); err == nil {
		t.Error("a platform that is not there was pulled")
	}
	checkNothingLeft(ctx, t, to)
}

// TestArtifactsBesideImages: an artifact in an index is not taken for the image, even if it claims the platform, and
// travels along where all of the index does.
func TestArtifactsBesideImages(t *testing.T) {
	srv := newServer(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	arm := storetest.NewImage(storetest.Spec{Files: []string{"arm"}, Arch: "arm64"})
	bom := storetest.NewArtifact("application/vnd.example.bom", "bom")
	for i, claims := range []ocispec.Descriptor{bom.Manifest.Descriptor, bom.Manifest.On("linux", "", ""), bom.Manifest.On("linux", "amd64", "")} {
		ctx, from := storetest.Open(t)
		idx := storetest.NewIndex(claims, img.Manifest.On("linux", "amd64", ""), arm.Manifest.On("linux", "arm64", ""))
		from.Put(ctx, t, slices.Concat(img.Blobs(), arm.Blobs(), bom.Blobs(), []storetest.Blob{idx})...)
		name := fmt.Sprintf("%s/beside%d:1", srv.host, i)
		from.Name(ctx, t, name, idx.Descriptor)
		if _, err := registry.Push(ctx, from.Client, name, options(t)); err != nil {
			t.Fatal(err)
		}
		for _, all := range []bool{false, true} {
			ctx, to := storetest.Open(t)
			opts := options(t)
			if opts.AllPlatforms = all; !all {
				opts.Platform = "linux/amd64"
			}
			if _, err := registry.Pull(ctx, to.Client, name, opts); err != nil {
				t.Errorf("pull %v, all %v: %v", claims, all, err)
				continue
			}
			blobs := to.Blobs(ctx, t)
			_, hasImage := blobs[img.Layers[0].Digest]
			_, hasBom := blobs[bom.Layers[0].Digest]
			if !hasImage || all && !hasBom {
				t.Errorf("pull %v, all %v: image %v, artifact %v", claims, all, hasImage, hasBom)
			}
		}
	}
}

func TestRetries(t *testing.T) {
	srv := newServer(t)
	ctx, from := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	name := srv.host + "/app:1"
	stored(ctx, t, from, img, name)
	for _, status := range []int{429, 500, 502, 503, 504} {
		const times = 5
		for _, c := range []struct {
			verb string
			try  func() error
		}{
			{"push", func() error { _, err := registry.Push(ctx, from.Client, name, options(t)); return err }},
			{"pull", func() error {
				ctx, to := storetest.Open(t)
				_, err := registry.Pull(ctx, to.Client, name, options(t))
				return err
			}},
		} {
			srv.misbehave(refuse(status, times))
			if err := c.try(); err != nil {
				t.Errorf("%s with status %d at first: %v", c.verb, status, err)
			}
		}
	}
	ctx, to := storetest.Open(t)
	srv.misbehave(refuse(503, 1000))
	_, err := registry.Pull(ctx, to.Client, name, options(t))
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v", err)
	}
	// HEAD and then GET, each time; containerd's own retries would multiply it.
	if n := srv.count(""); n != 12 {
		t.Errorf("%d requests before giving up", n)
	}
	checkNothingLeft(ctx, t, to)
}

// A connection that breaks in the middle of a layer must not end the pull.
func TestPullContinues(t *testing.T) {
	srv := newServer(t)
	ctx, from := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	name := srv.host + "/app:1"
	stored(ctx, t, from, img, name)
	if _, err := registry.Push(ctx, from.Client, name, options(t)); err != nil {
		t.Fatal(err)
	}
	layer := img.Layers[0]
	var mu sync.Mutex
	broken := 0
	srv.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layer.Digest.String()) || broken == 3 {
			return false
		}
		broken++
		w.Header().Set("Content-Length", fmt.Sprint(layer.Size))
		if _, err := w.Write(layer.Bytes[:layer.Size/2]); err != nil {
			return true
		}
		panic(http.ErrAbortHandler)
	})
	ctx, to := storetest.Open(t)
	if _, err := registry.Pull(ctx, to.Client, name, options(t)); err != nil {
		t.Error(err)
	}
	if broken == 0 {
		t.Error("the connection was never broken")
	}
}

func TestPullRefusesWrongBytes(t *testing.T) {
	srv := newServer(t)
	ctx, from := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	name := srv.host + "/app:1"
	stored(ctx, t, from, img, name)
	if _, err := registry.Push(ctx, from.Client, name, options(t)); err != nil {
		t.Fatal(err)
	}
	for _, victim := range img.Blobs() {
		srv.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, victim.Digest.String()) {
				return false
			}
			wrong := slices.Clone(victim.Bytes)
			wrong[len(wrong)/2] ^= 1
			w.Header().Set("Content-Type", victim.MediaType)
			w.Header().Set("Content-Length", fmt.Sprint(len(wrong)))
			_, err := w.Write(wrong)
			return err == nil
		})
		ctx, to := storetest.Open(t)
		if _, err := registry.Pull(ctx, to.Client, name, options(t)); err == nil {
			t.Errorf("wrong bytes for %s were taken", victim.MediaType)
		}
		checkNothingLeft(ctx, t, to)
		srv.misbehave(nil)
		if _, err := registry.Pull(ctx, to.Client, name, options(t)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
}

func TestPullRefusesConfusion(t *testing.T) {
	srv := newServer(t)
	body := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[],"layers":[],"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + strings.Repeat("0", 64) + `","size":2}}`
	srv.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		_, err := io.WriteString(w, body)
		return err == nil
	})
	ctx, s := storetest.Open(t)
	if _, err := registry.Pull(ctx, s.Client, srv.host+"/app:1", options(t)); err == nil {
		t.Error("a manifest that is an index too was taken")
	}
	checkNothingLeft(ctx, t, s)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	name := srv.host + "/app:1"
	if _, err := registry.Pull(ctx, s.Client, name, options(t)); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), name) {
		t.Errorf("unknown name: %v", err)
	}
	if _, err := registry.Push(ctx, s.Client, name, options(t)); !errdefs.IsNotFound(err) {
		t.Errorf("push of an unknown image: %v", err)
	}
	if _, err := registry.Pull(ctx, s.Client, "App", options(t)); err == nil || !strings.Contains(err.Error(), "lower case") {
		t.Errorf("bad name: %v", err)
	}
	stored(ctx, t, s, img, name)
	srv.misbehave(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	for verb, err := range map[string]error{
		"pull": func() error { _, err := registry.Pull(ctx, s.Client, name, options(t)); return err }(),
		"push": func() error { _, err := registry.Push(ctx, s.Client, name, options(t)); return err }(),
	} {
		if list := fault.All(err); len(list) == 0 || !errors.Is(list[0].Kind, registry.ErrDenied) || list[0].Ref != srv.host {
			t.Errorf("%s without credentials: %v", verb, err)
		}
	}
	if n := srv.count(""); n > 12 {
		t.Errorf("%d requests for what no retry can help", n)
	}
	cctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := registry.Pull(cctx, s.Client, name, options(t)); err == nil {
		t.Error("pulled after cancellation")
	}
	checkNothingOpen(ctx, t, s)
}

func TestCredentials(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	name := srv.host + "/private/app:1"
	stored(ctx, t, s, storetest.NewImage(storetest.Spec{Files: []string{"a"}}), name)
	srv.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		user, secret, _ := r.BasicAuth()
		if user == "me" && secret == "s3cret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	auth := base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
	for what, config := range map[string]string{
		"file":   `{"auths":{"` + srv.host + `":{"auth":"` + auth + `"}}}`,
		"helper": `{"credHelpers":{"` + srv.host + `":"veneertest"}}`,
	} {
		opts := options(t)
		write(t, filepath.Join(opts.DockerConfig, "config.json"), config, 0o600)
		if what == "helper" {
			bin := t.TempDir()
			write(t, filepath.Join(bin, "docker-credential-veneertest"), "#!/bin/sh\necho '{\"Username\":\"me\",\"Secret\":\"s3cret\"}'\n", 0o700)
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		}
		if _, err := registry.Push(ctx, s.Client, name, opts); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	opts := options(t)
	write(t, filepath.Join(opts.DockerConfig, "config.json"), "{", 0o600)
	if _, err := registry.Pull(ctx, s.Client, name, opts); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("broken config: %v", err)
	}
}

func TestHostsToml(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	name := "registry.invalid/app:1"
	stored(ctx, t, s, storetest.NewImage(storetest.Spec{Files: []string{"a"}}), name)
	opts := options(t)
	dir := t.TempDir()
	opts.HostsDirs = []string{filepath.Join(t.TempDir(), "none"), dir}
	write(t, filepath.Join(dir, "registry.invalid", "hosts.toml"), "server = \""+srv.URL+"\"\n", 0o600)
	if _, err := registry.Push(ctx, s.Client, name, opts); err != nil {
		t.Fatal(err)
	}
	ctx, to := storetest.Open(t)
	if _, err := registry.Pull(ctx, to.Client, name, opts); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Pull(ctx, to.Client, name, options(t)); err == nil {
		t.Error("pulled from registry.invalid")
	}
}

func TestPlainHTTPOnRequest(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	name := srv.host + "/app:1"
	stored(ctx, t, s, storetest.NewImage(storetest.Spec{Files: []string{"a"}}), name)
	opts := options(t)
	opts.PlainHTTP = true
	if _, err := registry.Push(ctx, s.Client, name, opts); err != nil {
		t.Fatal(err)
	}
}

// A base's layers are mounted from the repository that they were pulled from.
func TestPushMounts(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	base := srv.host + "/library/base:1"
	stored(ctx, t, s, img, base)
	if _, err := registry.Push(ctx, s.Client, base, options(t)); err != nil {
		t.Fatal(err)
	}
	ctx, to := storetest.Open(t)
	if _, err := registry.Pull(ctx, to.Client, base, options(t)); err != nil {
		t.Fatal(err)
	}
	app := srv.host + "/library/app:1"
	if _, err := content.Tag(ctx, to.Client, base, app); err != nil {
		t.Fatal(err)
	}
	// The test registry has one pool of blobs for all repositories and knows
	// no mounts: act for it.
	srv.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodHead && strings.HasPrefix(r.URL.Path, "/v2/library/app/blobs/"):
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPost && r.URL.Query().Get("from") == "library/base":
			w.WriteHeader(http.StatusCreated)
		default:
			return false
		}
		return true
	})
	if _, err := registry.Push(ctx, to.Client, app, options(t)); err != nil {
		t.Fatal(err)
	}
	if mounts, uploads := srv.count("mount="), srv.count("PUT /v2/library/app/blobs/"); mounts != 3 || uploads != 0 {
		t.Errorf("%d mounts and %d uploads, want 3 and 0", mounts, uploads)
	}
}

// Base layers that this engine discarded need not be here to be pushed, if
// the registry has them.
func TestPushWithoutBaseLayers(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	base := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	next := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	stored(ctx, t, s, base, srv.host+"/app:1")
	if _, err := registry.Push(ctx, s.Client, srv.host+"/app:1", options(t)); err != nil {
		t.Fatal(err)
	}
	ctx, thin := storetest.Open(t)
	thin.Put(ctx, t, next.Manifest, next.Config, next.Layers[1])
	thin.Name(ctx, t, srv.host+"/app:2", next.Manifest.Descriptor)
	if _, err := registry.Push(ctx, thin.Client, srv.host+"/app:2", options(t)); err != nil {
		t.Errorf("the registry has the layer: %v", err)
	}
	elsewhere := newServer(t)
	thin.Name(ctx, t, elsewhere.host+"/app:2", next.Manifest.Descriptor)
	_, err := registry.Push(ctx, thin.Client, elsewhere.host+"/app:2", options(t))
	if !errdefs.IsNotFound(err) || !errors.Is(err, registry.ErrLacks) {
		t.Errorf("the registry lacks the layer: %v", err)
	}
}

func TestPullOnlyOnce(t *testing.T) {
	srv := newServer(t)
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	name := srv.host + "/app:1"
	stored(ctx, t, s, img, name)
	if _, err := registry.Push(ctx, s.Client, name, options(t)); err != nil {
		t.Fatal(err)
	}
	srv.misbehave(nil)
	if _, err := registry.Pull(ctx, s.Client, name, options(t)); err != nil {
		t.Fatal(err)
	}
	if n := srv.count("GET"); n != 0 {
		t.Errorf("%d requests for content that was here", n)
	}
}

func stored(ctx context.Context, t *testing.T, s storetest.Store, img storetest.Image, name string) {
	t.Helper()
	s.Put(ctx, t, img.Blobs()...)
	for _, b := range img.Blobs() {
		// A pull that fails collects what nothing refers to.
		if err := content.SetLabels(ctx, s.ContentStore(), b.Digest, map[string]string{"containerd.io/gc.root": "test"}); err != nil {
			t.Fatal(err)
		}
	}
	s.Name(ctx, t, name, img.Manifest.Descriptor)
}

// refuse answers so many requests with a status.
func refuse(status, times int) func(http.ResponseWriter, *http.Request) bool {
	var n atomic.Int32
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if n.Add(1) > int32(times) {
			return false
		}
		w.WriteHeader(status)
		return true
	}
}

func write(t *testing.T, name, data string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), mode); err != nil {
		t.Fatal(err)
	}
}

func checkNothingOpen(ctx context.Context, t *testing.T, s storetest.Store) {
	t.Helper()
	ls, err := s.LeasesService().List(ctx)
	if err != nil || len(ls) > 0 {
		t.Errorf("leases left: %v, %v", ls, err)
	}
	st, err := s.ContentStore().ListStatuses(ctx)
	if err != nil || len(st) > 0 {
		t.Errorf("ingests left: %v, %v", st, err)
	}
}

func checkNothingLeft(ctx context.Context, t *testing.T, s storetest.Store) {
	t.Helper()
	checkNothingOpen(ctx, t, s)
	if blobs := s.Blobs(ctx, t); len(blobs) > 0 {
		t.Errorf("blobs left: %v", slices.Collect(maps.Keys(blobs)))
	}
	if imgs, err := s.ImageService().List(ctx); err != nil || len(imgs) > 0 {
		t.Errorf("images left: %v, %v", imgs, err)
	}
}
