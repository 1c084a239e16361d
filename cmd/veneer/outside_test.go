package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/veneer-build/veneer"
)

// remote is a registry that counts which blobs are asked for.
type remote struct {
	host string

	mu    sync.Mutex
	blobs []string
	// damage is the digest of a blob of which it sends other bytes, fail that of one
	// that it answers with status to.
	damage, fail string
	status       int
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	r := &remote{}
	handler := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, blob, isBlob := strings.Cut(req.URL.Path, "/blobs/sha256:")
		r.mu.Lock()
		if isBlob && req.Method == http.MethodGet {
			r.blobs = append(r.blobs, "sha256:"+blob)
		}
		bad := isBlob && req.Method == http.MethodGet && "sha256:"+blob == r.damage
		status := 0
		if isBlob && "sha256:"+blob == r.fail {
			status = r.status
		}
		r.mu.Unlock()
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		if !bad {
			handler.ServeHTTP(w, req)
			return
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		data := rec.Body.Bytes()
		data[len(data)/2] ^= 1
		_, _ = w.Write(data)
	}))
	t.Cleanup(srv.Close)
	r.host = strings.TrimPrefix(srv.URL, "http://")
	return r
}

// asked returns which of some blobs were asked for since the last call.
func (r *remote) asked(of ...string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.DeleteFunc(r.blobs, func(d string) bool { return !slices.Contains(of, d) })
	r.blobs = nil
	return list
}

// layersOf returns the digests of an image's layers.
func layersOf(t *testing.T, image string) []string {
	t.Helper()
	out, _ := ok(t, "history", "--quiet", image)
	return strings.Fields(out)
}

// twoRemotes pushes app:1 and app:2 on it, and forgets both.
func twoRemotes(t *testing.T, r *remote) (refs, layers []string) {
	t.Helper()
	dir, _ := buildApp(t)
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/bash\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ok(t, "build", "--from", "app:1", "--sync", dir+":/app", "-t", "app:2", "--no-unpack")
	layers = layersOf(t, "app:2")
	for _, name := range []string{"app:1", "app:2"} {
		ok(t, "tag", name, r.host+"/"+name)
		ok(t, "push", r.host+"/"+name)
		refs = append(refs, "docker://"+r.host+"/"+name)
	}
	r.asked()
	t.Setenv("VENEER_ROOT", t.TempDir())
	return refs, layers
}

// TestVerifyOutside verifies an image where it is. A registry's blobs are streamed,
// and none is stored.
func TestVerifyOutside(t *testing.T) {
	r := newRemote(t)
	refs, layers := twoRemotes(t, r)
	t.Setenv("VENEER_ENGINE", "containerd")
	t.Setenv("CONTAINERD_ADDRESS", filepath.Join(t.TempDir(), "no.sock"))
	out, messages := ok(t, "verify", refs[1], "--progress", "quiet")
	if !strings.HasPrefix(out, r.host+"/app:2: 1 platform, 4 blobs, ") || !strings.HasSuffix(out, "; 0 errors, 0 warnings\n") || messages != "" {
		t.Errorf("%q, %q", out, messages)
	}
	if got := r.asked(layers...); len(got) != 2 {
		t.Errorf("layers that were asked for: %q", got)
	}
	r.damage = layers[1]
	code, out, _ := veneerRun(t.Context(), "verify", refs[1], "--format", "json")
	var res veneer.VerifyResult
	if err := json.Unmarshal([]byte(out), &res); err != nil || code != exitError || len(res.Findings) != 1 {
		t.Fatalf("%d, %v, %s", code, err, out)
	}
	if f := res.Findings[0]; f.Object.String() != layers[1] || !strings.Contains(f.Message, "digest differs") || strings.Contains(f.Message, "--repair") {
		t.Errorf("%+v", f)
	}
	for _, args := range [][]string{
		{"verify", "--repair", refs[0]}, {"verify", "--all-platforms", "app:1"}, {"verify", "docker://UPPER"}, {"diff", "docker://UPPER", "app:1"},
	} {
		if code, _, errOut := veneerRun(t.Context(), args...); code != exitUsage {
			t.Errorf("%q: %d, %s", args, code, errOut)
		}
	}
	if code, _, errOut := veneerRun(t.Context(), "verify", "docker://"+r.host+"/absent:1"); code != exitError || !strings.Contains(errOut, "absent:1") || strings.Contains(errOut, "inspect") {
		t.Errorf("absent: %d, %s", code, errOut)
	}
}

// TestVerifyRegistryFails: of a registry that fails no image is called bad, and what
// did not come is not counted as read.
func TestVerifyRegistryFails(t *testing.T) {
	r := newRemote(t)
	refs, layers := twoRemotes(t, r)
	verify := func() (res *veneer.VerifyResult, err error) {
		open := withTemporaryEngine(t.Context(), func(ctx context.Context, e *veneer.Engine) error {
			res, err = veneer.VerifyOutside(ctx, e, veneer.VerifyRequest{Image: refs[1]}, veneer.RegistryOptions{Backoff: time.Millisecond})
			return nil
		})
		if open != nil {
			t.Fatal(open)
		}
		return res, err
	}
	whole, err := verify()
	if err != nil || whole.Errors != 0 {
		t.Fatalf("%+v, %v", whole, err)
	}
	r.fail = layers[1]
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusForbidden} {
		r.status = status
		if res, err := verify(); err == nil || !strings.Contains(err.Error(), "try again") || !strings.Contains(err.Error(), layers[1]) {
			t.Errorf("%d: %+v, %v", status, res, err)
		}
	}
	r.status = http.StatusNotFound
	res, err := verify()
	if err != nil || res.Errors != 1 || res.Blobs != whole.Blobs-1 || res.Bytes >= whole.Bytes {
		t.Errorf("a layer that is not there: %+v, %v; whole: %+v", res, err, whole)
	}
}

// TestVerifyArchive verifies an archive and a layout, good ones and a damaged one.
func TestVerifyArchive(t *testing.T) {
	buildApp(t)
	layers := layersOf(t, "app:1")
	archive, layout := savedApp(t)
	for _, ref := range []string{"archive:" + archive, "oci:" + layout} {
		out, messages := ok(t, "verify", ref, "--progress", "quiet")
		if !strings.HasPrefix(out, ref+": 1 platform, 3 blobs, ") || !strings.HasSuffix(out, "; 0 errors, 0 warnings\n") || messages != "" {
			t.Errorf("%q, %q", out, messages)
		}
	}
	blob := filepath.Join(layout, "blobs", strings.Replace(layers[0], ":", "/", 1))
	data, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(blob, data, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := veneerRun(t.Context(), "verify", "oci:"+layout, "--progress", "quiet")
	if code != exitError || !strings.HasPrefix(out, "error: blob") || !strings.Contains(out, layers[0][7:]) || errOut != "" {
		t.Errorf("damaged: %d, %q, %q", code, out, errOut)
	}
}

// TestVerifyCutArchive: that an archive is cut off is found like other damage.
func TestVerifyCutArchive(t *testing.T) {
	buildApp(t)
	archive := filepath.Join(t.TempDir(), "app.tar")
	ok(t, "save", "app:1", "-o", archive, "--progress", "quiet")
	info, err := os.Stat(archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(archive, info.Size()*2/5+100); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := veneerRun(t.Context(), "verify", "archive:"+archive, "--format", "json", "--progress", "quiet")
	var res veneer.VerifyResult
	if err := json.Unmarshal([]byte(out), &res); err != nil || code != exitError || res.Errors != 1 || errOut != "" {
		t.Fatalf("%d, %v, %q, %q", code, err, out, errOut)
	}
	if f := res.Findings[0]; f.Check != "blob" || !strings.Contains(f.Message, "ends early") || strings.Contains(f.Message, archive) {
		t.Errorf("%+v", f)
	}
}

// TestOutsideUsage: what cannot be read is refused with what can.
func TestOutsideUsage(t *testing.T) {
	buildApp(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"verify", "docker://"}, "docker://HOST/NAME"},
		{[]string{"inspect", "docker://"}, "docker://HOST/NAME"},
		{[]string{"diff", "docker://", "app:1"}, "docker://HOST/NAME"},
		{[]string{"verify", "--same-rootfs", "archive:t1.tar", "app:1"}, "veneer diff archive:t1.tar app:1"},
		{[]string{"verify", "--same-rootfs", "app:1", "docker://localhost:1/app"}, "veneer diff app:1 docker://localhost:1/app"},
	} {
		if code, out, errOut := veneerRun(t.Context(), c.args...); code != exitUsage || out != "" || !strings.Contains(errOut, c.want) {
			t.Errorf("%q: %d, %q, %q", c.args, code, out, errOut)
		}
	}
}

// TestOtherPrefix: a file is no layout and a directory no archive, and one without an
// image is not read as a whole.
func TestOtherPrefix(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "f.tar")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"oci:" + file:    "it is a file, so write archive:" + file,
		"archive:" + dir: "it is a directory, so write oci:" + dir,
		"oci:" + dir:     "open layout " + dir + ": it holds no image",
	} {
		for _, verb := range []string{"verify", "inspect"} {
			if code, out, errOut := veneerRun(t.Context(), verb, ref); code != exitError || out != "" || !strings.Contains(errOut, want) {
				t.Errorf("%s %s: %d, %q, %q", verb, ref, code, out, errOut)
			}
		}
	}
}

// TestRegistryRef: an image called registry of the engine is not one of a registry.
func TestRegistryRef(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for text, want := range map[string]string{
		"docker://app":            "app",
		"docker://app" + digest:   "app" + digest,
		"registry:h/app":          "h/app",
		"registry:h/app" + digest: "h/app" + digest,
		"registry:h:5000/app:2":   "h:5000/app:2",
		"registry:app:2":          "app:2",
		"registry:app:2" + digest: "app:2" + digest,
		"registry:2":              "",
		"registry:2" + digest:     "",
		"registry" + digest:       "",
		"app:2":                   "",
	} {
		if name, ok := veneer.RegistryRef(text); ok != (want != "") || ok && name != want {
			t.Errorf("%s: %q, %v", text, name, ok)
		}
	}
}

// TestDiffOutside: a diff of two images in a registry is as that of the same images
// here. Each layer is fetched once, and one that is known is not fetched again.
func TestDiffOutside(t *testing.T) {
	r := newRemote(t)
	refs, layers := twoRemotes(t, r)
	if out, _ := ok(t, "diff", refs[0], refs[0]); out != "nothing differs from "+refs[0]+"\n" {
		t.Errorf("the same: %q", out)
	}
	if got := r.asked(layers...); len(got) != 0 {
		t.Errorf("the same: layers that were asked for: %q", got)
	}
	first, _ := ok(t, "diff", "--format", "json", refs[0], refs[1])
	if got := r.asked(layers...); len(got) != 2 {
		t.Errorf("layers that were asked for: %q", got)
	}
	if images, _ := ok(t, "images", "-q"); images != "" {
		t.Errorf("left: %q", images)
	}
	again, _ := ok(t, "diff", "--format", "json", refs[0], refs[1])
	if got := r.asked(layers...); !slices.Equal(got, layers[1:]) || again != first {
		t.Errorf("again: layers that were asked for: %q of %q; %s", got, layers, again)
	}
	for _, ref := range refs {
		ok(t, "pull", "--no-unpack", strings.TrimPrefix(ref, "docker://"))
	}
	r.asked()
	names := []string{strings.TrimPrefix(refs[0], "docker://"), strings.TrimPrefix(refs[1], "docker://")}
	here, _ := ok(t, "diff", "--format", "json", names[0], names[1])
	if want := strings.ReplaceAll(here, `"base": "`, `"base": "docker://`); want != first {
		t.Errorf("of the registry: %s; here: %s", first, here)
	}
	mixed, _ := ok(t, "diff", "--name-only", refs[0], names[1])
	if got := r.asked(layers...); mixed != "/app/run\n" || len(got) != 0 {
		t.Errorf("mixed: %q; layers that were asked for: %q", mixed, got)
	}
}
