package registry_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	cstore "github.com/containerd/containerd/v2/core/content"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/registry"
)

// faulty is a registry with an image, and a store whose record of the image's
// name is of an older one.
type faulty struct {
	*server
	store storetest.Store
	ctx   context.Context //nolint:containedctx // the store's, which has its namespace
	img   storetest.Image
	old   storetest.Image
	name  string
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	f := &faulty{server: newServer(t), img: storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})}
	f.name = f.host + "/team/app:1"
	ctx, from := storetest.Open(t)
	stored(ctx, t, from, f.img, f.name)
	if _, err := registry.Push(ctx, from.Client, f.name, options(t)); err != nil {
		t.Fatal(err)
	}
	f.old = storetest.NewImage(storetest.Spec{Files: []string{"old"}})
	f.ctx, f.store = storetest.Open(t)
	stored(f.ctx, t, f.store, f.old, f.name)
	return f
}

// unharmed fails the test if a pull left anything or changed the name.
func (f *faulty) unharmed(t *testing.T) {
	t.Helper()
	checkNothingOpen(f.ctx, t, f.store)
	record, err := f.store.ImageService().Get(f.ctx, f.name)
	if err != nil || record.Target.Digest != f.old.Manifest.Digest {
		t.Errorf("the name is now %v, %v", record.Target.Digest, err)
	}
	if blobs := f.store.Blobs(f.ctx, t); len(blobs) != len(f.old.Blobs()) {
		t.Errorf("blobs left: %v", slices.Collect(maps.Keys(blobs)))
	}
}

// documents answers requests for manifests.
func documents(answer func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		answer(w, r)
		return true
	}
}

// send writes a document as a registry does, under the digest of its bytes.
func send(w http.ResponseWriter, mediaType, body string) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest.FromString(body).String())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = io.WriteString(w, body)
}

// A registry that answers wrongly: a clear error, nothing left, no name
// changed, and a pull works when the registry does.
func TestPullFromFaultyRegistry(t *testing.T) {
	f := newFaulty(t)
	manifest := string(f.img.Manifest.Bytes)
	status := func(code int) func(http.ResponseWriter, *http.Request) bool { return refuse(code, 1<<20) }
	blob := func(answer func(w http.ResponseWriter, whole []byte)) func(http.ResponseWriter, *http.Request) bool {
		layer := f.img.Layers[1]
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
				return false
			}
			answer(w, slices.Clone(layer.Bytes))
			return true
		}
	}
	for _, c := range []struct {
		what  string
		fault func(http.ResponseWriter, *http.Request) bool
		want  string
	}{
		{"401", status(401), "access denied"},
		{"403", status(403), "access denied"},
		{"404", status(404), "not found"},
		{"418", status(418), "418"},
		{"429", status(429), "limits the rate"},
		{"500", status(500), "500"},
		{"an unknown scheme", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Digest realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, "access denied"},
		{"not JSON", documents(func(w http.ResponseWriter, _ *http.Request) {
			send(w, ocispec.MediaTypeImageManifest, "<html>welcome</html>")
		}), "invalid character"},
		{"an empty manifest", documents(func(w http.ResponseWriter, _ *http.Request) {
			send(w, ocispec.MediaTypeImageManifest, "{}")
		}), "descriptor with digest"},
		{"a truncated manifest", documents(func(w http.ResponseWriter, _ *http.Request) {
			send(w, ocispec.MediaTypeImageManifest, manifest[:len(manifest)/2])
		}), "unexpected EOF"},
		{"a manifest that ends early", documents(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", f.img.Manifest.Digest.String())
			w.Header().Set("Content-Type", f.img.Manifest.MediaType)
			w.Header().Set("Content-Length", strconv.Itoa(len(manifest)))
			if r.Method == http.MethodGet {
				_, _ = io.WriteString(w, manifest[:len(manifest)/2])
			}
		}), "EOF"},
		{"another manifest", documents(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				send(w, f.img.Manifest.MediaType, manifest)
				return
			}
			send(w, f.img.Manifest.MediaType, strings.Replace(manifest, "2", "3", 1))
		}), "other content than it was asked for"},
		{"an index's type", documents(func(w http.ResponseWriter, _ *http.Request) {
			send(w, ocispec.MediaTypeImageIndex, manifest)
		}), "index"},
		{"a type of its own", documents(func(w http.ResponseWriter, _ *http.Request) {
			send(w, "application/vnd.example.thing+json", manifest)
		}), "is no image"},
		{"a digest that is none", documents(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha256:../../etc/passwd")
			w.Header().Set("Content-Length", "7")
		}), "not a valid digest"},
		{"a huge manifest", documents(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", f.img.Manifest.Digest.String())
			w.Header().Set("Content-Length", strconv.Itoa(1<<30))
		}), "1073741824 byte"},
		{"an endless manifest", documents(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			for line := strings.Repeat(" ", 1<<20); r.Method == http.MethodGet; {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
			}
		}), "longer than"},
		{"an enormous child", documents(func(w http.ResponseWriter, _ *http.Request) {
			send(w, ocispec.MediaTypeImageIndex, fmt.Sprintf(
				`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":"amd64"}}]}`,
				ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, digest.FromString("x"), 1<<40))
		}), "more than the"},
		{"a longer layer", blob(func(w http.ResponseWriter, whole []byte) {
			_, _ = w.Write(append(whole, "more"...))
		}), "more than its"},
		{"a length that is too short", blob(func(w http.ResponseWriter, whole []byte) {
			_, _ = w.Write(whole[:len(whole)/2])
		}), " bytes came"},
		{"other bytes", blob(func(w http.ResponseWriter, whole []byte) {
			whole[len(whole)/2] ^= 1
			_, _ = w.Write(whole)
		}), "unexpected commit digest"},
		{"no bytes", blob(func(http.ResponseWriter, []byte) {}), " bytes came"},
		{"redirects without end", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.Path+"x", http.StatusTemporaryRedirect)
			return true
		}, "10 redirects"},
	} {
		t.Run(c.what, func(t *testing.T) {
			f.misbehave(c.fault)
			_, err := registry.Pull(f.ctx, f.store.Client, f.name, options(t))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), f.name) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			f.unharmed(t)
		})
	}
	f.misbehave(nil)
	if got, err := registry.Pull(f.ctx, f.store.Client, f.name, options(t)); err != nil || got.Target.Digest != f.img.Manifest.Digest {
		t.Errorf("afterwards: %v, %v", got.Target.Digest, err)
	}
}

// cut breaks the connections of requests from the nth on, so many of them.
func cut(n, times int) (fault func(http.ResponseWriter, *http.Request) bool, requests *atomic.Int32) {
	requests = new(atomic.Int32)
	return func(http.ResponseWriter, *http.Request) bool {
		if at := int(requests.Add(1)); at >= n && at < n+times {
			panic(http.ErrAbortHandler)
		}
		return false
	}, requests
}

// Whichever request it is that the connection breaks at: once, and nobody
// notices; for good, and nothing is left.
func TestPullCutAtEachRequest(t *testing.T) {
	f := newFaulty(t)
	count, total := cut(0, 0)
	f.misbehave(count)
	ctx, store := storetest.Open(t)
	if _, err := registry.Pull(ctx, store.Client, f.name, options(t)); err != nil {
		t.Fatal(err)
	}
	if total.Load() < 5 { // resolve, manifest, config, two layers
		t.Fatalf("%d requests", total.Load())
	}
	for n := 1; n <= int(total.Load()); n++ {
		fault, _ := cut(n, 1)
		f.misbehave(fault)
		ctx, store := storetest.Open(t)
		if _, err := registry.Pull(ctx, store.Client, f.name, options(t)); err != nil {
			t.Errorf("request %d cut once: %v", n, err)
		}
		checkNothingOpen(ctx, t, store)

		fault, _ = cut(n, 1<<20)
		f.misbehave(fault)
		if _, err := registry.Pull(f.ctx, f.store.Client, f.name, options(t)); err == nil {
			t.Errorf("request %d and all after it cut: pulled", n)
		}
		f.unharmed(t)
	}
}

func TestPushCutAtEachRequest(t *testing.T) {
	ctx, store := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	stored(ctx, t, store, img, "app")
	// push sends the image to a new registry.
	push := func(fault func(http.ResponseWriter, *http.Request) bool) (*server, string, error) {
		srv := newServer(t)
		name := srv.host + "/team/app:1"
		if _, err := content.Tag(ctx, store.Client, "app", name); err != nil {
			t.Fatal(err)
		}
		srv.misbehave(fault)
		_, err := registry.Push(ctx, store.Client, name, options(t))
		srv.misbehave(nil)
		return srv, name, err
	}
	count, total := cut(0, 0)
	if _, _, err := push(count); err != nil || total.Load() < 11 {
		t.Fatalf("%d requests, %v", total.Load(), err)
	}
	for n := 1; n <= int(total.Load()); n++ {
		fault, _ := cut(n, 1)
		if _, _, err := push(fault); err != nil {
			t.Errorf("request %d cut once: %v", n, err)
		}
		checkNothingOpen(ctx, t, store)

		fault, _ = cut(n, 1<<20)
		srv, name, err := push(fault)
		checkNothingOpen(ctx, t, store)
		if n == int(total.Load()) { // which asks for the tag that was pushed
			if err != nil {
				t.Errorf("the last request cut: %v", err)
			}
			continue
		}
		if err == nil {
			t.Errorf("request %d and all after it cut: pushed", n)
		}
		_, other := storetest.Open(t)
		if _, err := registry.Pull(ctx, other.Client, name, options(t)); err == nil {
			t.Errorf("request %d and all after it cut: there is an image", n)
		}
		if _, err := registry.Push(ctx, store.Client, name, options(t)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if _, err := registry.Pull(ctx, other.Client, name, options(t)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		srv.Close()
	}
}

func TestRetryAfter(t *testing.T) {
	f := newFaulty(t)
	busy := func(value string, times int) func(http.ResponseWriter, *http.Request) bool {
		var n atomic.Int32
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || n.Add(1) > int32(times) {
				return false
			}
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	}
	var told atomic.Int32
	opts := options(t)
	opts.Notify = func(line string) {
		if strings.Contains(line, "1s") {
			told.Add(1)
		}
	}
	f.misbehave(busy("1", 1))
	ctx, store := storetest.Open(t)
	start := time.Now()
	if _, err := registry.Pull(ctx, store.Client, f.name, opts); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < time.Second || told.Load() != 1 {
		t.Errorf("it took %s, the user was told %d times", took, told.Load())
	}

	for _, value := range []string{"3600", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)} {
		f.misbehave(busy(value, 1<<20))
		start = time.Now()
		_, err := registry.Pull(f.ctx, f.store.Client, f.name, options(t))
		if err == nil || !strings.Contains(err.Error(), "come back in ") || !strings.Contains(err.Error(), "503") {
			t.Errorf("Retry-After: %s: %v", value, err)
		}
		if took := time.Since(start); took > time.Minute || f.count("GET") != 1 {
			t.Errorf("Retry-After: %s: %s, %d requests", value, took, f.count("GET"))
		}
		f.unharmed(t)
	}
	f.misbehave(busy("never", 1))
	if _, err := registry.Pull(f.ctx, f.store.Client, f.name, options(t)); err != nil {
		t.Error(err)
	}
}

// What is fetched again is what is missing.
func TestPullContinuesWithRange(t *testing.T) {
	f := newFaulty(t)
	layer := f.img.Layers[0]
	half := layer.Size / 2
	for what, begin := range map[string][]byte{
		"its first half":  layer.Bytes[:half],
		"something else":  []byte(strings.Repeat("x", int(half))),
		"all of it":       layer.Bytes,
		"more than of it": append(slices.Clone(layer.Bytes), "more"...),
	} {
		t.Run(what, func(t *testing.T) {
			ctx, store := storetest.Open(t)
			// A killed pull leaves this.
			w, err := store.ContentStore().Writer(ctx, cstore.WithRef(remotes.MakeRefKey(ctx, layer.Descriptor)), cstore.WithDescriptor(layer.Descriptor))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(begin); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var ranges []string
			f.misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
					mu.Lock()
					ranges = append(ranges, r.Header.Get("Range"))
					mu.Unlock()
				}
				return false
			})
			if _, err := registry.Pull(ctx, store.Client, f.name, options(t)); err != nil {
				t.Fatal(err)
			}
			checkNothingOpen(ctx, t, store)
			want := map[string][]string{
				"its first half": {fmt.Sprintf("bytes=%d-", half)},
				"something else": {fmt.Sprintf("bytes=%d-", half), ""},
				"all of it":      nil, "more than of it": {""},
			}[what]
			if !slices.Equal(ranges, want) {
				t.Errorf("ranges %q, want %q", ranges, want)
			}
		})
	}
}

// A registry that stops in the middle, or sends a byte now and then, is asked
// for the rest; one that never gets on is an error.
func TestStall(t *testing.T) {
	f := newFaulty(t)
	layer := f.img.Layers[0]
	stall := func(times int, pause time.Duration) func(http.ResponseWriter, *http.Request) bool {
		var n atomic.Int32
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layer.Digest.String()) || n.Add(1) > int32(times) {
				return false
			}
			w.Header().Set("Content-Length", strconv.FormatInt(layer.Size, 10))
			for _, b := range layer.Bytes[:layer.Size/2] {
				if _, err := w.Write([]byte{b}); err != nil {
					return true
				}
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return true
				case <-time.After(pause):
				}
			}
			<-r.Context().Done()
			return true
		}
	}
	for what, pause := range map[string]time.Duration{"nothing": 0, "a byte now and then": 30 * time.Millisecond} {
		opts := options(t)
		opts.Stall = 300 * time.Millisecond
		f.misbehave(stall(1, pause))
		ctx, store := storetest.Open(t)
		if _, err := registry.Pull(ctx, store.Client, f.name, opts); err != nil {
			t.Errorf("%s once: %v", what, err)
		}
		f.misbehave(stall(1<<20, pause))
		_, err := registry.Pull(f.ctx, f.store.Client, f.name, opts)
		if err == nil || !strings.Contains(err.Error(), "has stalled") {
			t.Errorf("%s: %v", what, err)
		}
		f.unharmed(t)
	}
}

// A registry that takes nothing of an upload is an error as well.
func TestPushStall(t *testing.T) {
	srv := newServer(t)
	ctx, store := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	big := storetest.NewBlob(ocispec.MediaTypeImageLayer, storetest.Tar(map[string]string{"big": strings.Repeat("x", 64<<20)}))
	config := storetest.JSON(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{big.Digest}},
	})
	img.Config, img.Layers = config, []storetest.Blob{big}
	img.Manifest = storetest.JSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: config.Descriptor, Layers: []ocispec.Descriptor{big.Descriptor},
	})
	name := srv.host + "/app:1"
	stored(ctx, t, store, img, name)
	srv.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || r.ContentLength < 1<<20 {
			return false
		}
		// Not a byte of the body is read any more.
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return true
		}
		t.Cleanup(func() { _ = conn.Close() })
		return true
	})
	opts := options(t)
	opts.Stall = 200 * time.Millisecond
	start := time.Now()
	_, err := registry.Push(ctx, store.Client, name, opts)
	if err == nil || !strings.Contains(err.Error(), "has stalled") {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	checkNothingOpen(ctx, t, store)
}

func TestHostsTomlThatIsWrong(t *testing.T) {
	f := newFaulty(t)
	for what, text := range map[string]string{
		"no TOML":           "server = \n",
		"a word of its own": "[host.\"http://mirror.invalid\"]\n  capabilities = [\"pul\"]\n",
		"a wrong type":      "server = \"http://registry.invalid\"\nca = 1\n",
		"an inline table":   "host = {\"http://mirror.invalid\" = {}}\n",
	} {
		opts := options(t)
		dir := t.TempDir()
		opts.HostsDirs = []string{dir}
		file := filepath.Join(dir, strings.Replace(f.host, ":", "_", 1)+"_", "hosts.toml")
		write(t, file, text, 0o600)
		f.misbehave(nil)
		_, err := registry.Pull(f.ctx, f.store.Client, f.name, opts)
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", what, err)
		}
		if n := f.count(""); n != 0 {
			t.Errorf("%s: %d requests to where it does not point", what, n)
		}
	}
}

// A mirror is asked first; where it cannot serve, the registry itself is.
func TestMirrors(t *testing.T) {
	f := newFaulty(t)
	var asked atomic.Int32
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("ns") != "registry.invalid" || r.Header.Get("Authorization") != "" {
			t.Errorf("the mirror is asked for %s with %q", r.URL, r.Header.Get("Authorization"))
		}
		w.WriteHeader([]int{404, 500, 503, 429}[asked.Add(1)%4])
	}))
	defer mirror.Close()
	opts := options(t)
	dir := t.TempDir()
	opts.HostsDirs = []string{dir}
	write(t, filepath.Join(dir, "registry.invalid", "hosts.toml"), fmt.Sprintf(
		"server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", f.URL, mirror.URL), 0o600)
	ctx, store := storetest.Open(t)
	if _, err := registry.Pull(ctx, store.Client, "registry.invalid/team/app:1", opts); err != nil || asked.Load() == 0 {
		t.Errorf("asked the mirror %d times: %v", asked.Load(), err)
	}
	// And what is busy for a moment behind a mirror that has nothing is tried again.
	f.misbehave(refuse(503, 1))
	ctx, store = storetest.Open(t)
	if _, err := registry.Pull(ctx, store.Client, "registry.invalid/team/app:1", opts); err != nil {
		t.Error(err)
	}
}

// A repository that a layer cannot be mounted from is no reason to fail.
func TestPushWhereMountIsRefused(t *testing.T) {
	for _, status := range []int{401, 403, 404} {
		f := newFaulty(t)
		ctx, store := storetest.Open(t)
		if _, err := registry.Pull(ctx, store.Client, f.name, options(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := content.Tag(ctx, store.Client, f.name, f.host+"/other/app:1"); err != nil {
			t.Fatal(err)
		}
		f.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Query().Get("mount") != "":
				w.WriteHeader(status)
			case r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/"):
				w.WriteHeader(http.StatusNotFound)
			default:
				return false
			}
			return true
		})
		if _, err := registry.Push(ctx, store.Client, f.host+"/other/app:1", options(t)); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		if n := f.count("mount="); n == 0 {
			t.Error("no mount was tried")
		}
	}
}

// After a push to one repository, a push to another one mounts.
func TestPushRemembers(t *testing.T) {
	srv := newServer(t)
	ctx, store := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	stored(ctx, t, store, img, srv.host+"/one/app:1")
	if _, err := registry.Push(ctx, store.Client, srv.host+"/one/app:1", options(t)); err != nil {
		t.Fatal(err)
	}
	key := "containerd.io/distribution.source." + strings.Split(srv.host, ":")[0]
	for _, b := range img.Blobs() {
		if got := store.Blobs(ctx, t)[b.Digest][key]; got != "one/app" {
			t.Errorf("%s: label %q", b.MediaType, got)
		}
	}
}
