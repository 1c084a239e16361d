package registry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/storetest"
)

// odd is a registry with the oddities that were switched on by their names, see
// [oddities]. Without one it does what the OCI distribution-spec says, with a
// store for each repository, and takes no manifest whose blobs it lacks.
type odd struct {
	*httptest.Server
	other *httptest.Server // the same registry under another address
	host  string           // address and port of the first

	mu       sync.Mutex
	requests []string
	blobs    map[string][]byte // by repository and digest
	docs     map[string]document
	uploads  int
	tokens   map[string]bool
}

type document struct {
	mediaType string
	data      []byte
}

// newOdd starts a registry with one oddity; "" is none.
func newOdd(t *testing.T, name string) *odd {
	t.Helper()
	row, ok := oddities[name]
	if !ok {
		row = referring[name]
	}
	return newOddWith(t, row.wrap)
}

// newOddWith starts a registry with what is put before it; nil is nothing.
func newOddWith(t *testing.T, with wrap) *odd {
	t.Helper()
	o := &odd{blobs: map[string][]byte{}, docs: map[string]document{}, tokens: map[string]bool{}}
	handler := http.Handler(http.HandlerFunc(o.serve))
	if with != nil {
		handler = with(o, handler)
	}
	logged := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.requests = append(o.requests, fmt.Sprintf("%s %s%s %s", r.Method, r.Host, r.URL, r.Header.Get("Range")))
		o.mu.Unlock()
		handler.ServeHTTP(w, r)
	})
	o.Server, o.other = httptest.NewServer(logged), httptest.NewServer(logged)
	t.Cleanup(o.Close)
	t.Cleanup(o.other.Close)
	o.host = strings.TrimPrefix(o.URL, "http://")
	return o
}

// load puts an image into a repository, with the tag 1.
func (o *odd) load(repo string, img storetest.Image) {
	for _, b := range append(img.Layers, img.Config) {
		o.blobs[repo+"/"+b.Digest.String()] = b.Bytes
	}
	doc := document{img.Manifest.MediaType, img.Manifest.Bytes}
	o.docs[repo+"/1"], o.docs[repo+"/"+img.Manifest.Digest.String()] = doc, doc
}

// lacks says what of an image is not in a repository; "" if all is.
func (o *odd) lacks(repo, tag string, img storetest.Image) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range append(img.Layers, img.Config) {
		if !bytes.Equal(o.blobs[repo+"/"+b.Digest.String()], b.Bytes) {
			return "blob " + b.Digest.String()
		}
	}
	if !bytes.Equal(o.docs[repo+"/"+tag].data, img.Manifest.Bytes) {
		return "manifest"
	}
	return ""
}

// count returns how many requests had all of these in their lines.
func (o *odd) count(parts ...string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.requests {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(r, p) }) {
			n++
		}
	}
	return n
}

// serve is the registry without oddities.
func (o *odd) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	if repo, ref, ok := strings.Cut(path, "/manifests/"); ok {
		o.manifest(w, r, repo+"/", ref, body)
		return
	}
	repo, rest, ok := strings.Cut(path, "/blobs/")
	upload, isUpload := strings.CutPrefix(rest, "uploads/")
	switch {
	case !ok && path == "":
		w.WriteHeader(http.StatusOK)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case isUpload && r.Method == http.MethodPost:
		o.start(w, r, repo)
	case isUpload && r.Method == http.MethodPut:
		o.finish(w, r, repo, upload, body)
	default:
		o.read(w, r, "application/octet-stream", o.blobs[repo+"/"+rest])
	}
}

func (o *odd) read(w http.ResponseWriter, r *http.Request, mediaType string, data []byte) {
	if data == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (o *odd) manifest(w http.ResponseWriter, r *http.Request, repo, ref string, body []byte) {
	switch r.Method {
	case http.MethodDelete:
		o.deleteManifest(w, repo, ref)
		return
	case http.MethodPut:
	default:
		doc := o.docs[repo+ref]
		o.read(w, r, doc.mediaType, doc.data)
		return
	}
	if !o.complete(repo, body) {
		refuseWith(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN")
		return
	}
	d := digest.FromBytes(body).String()
	o.docs[repo+ref] = document{r.Header.Get("Content-Type"), body}
	o.docs[repo+d] = o.docs[repo+ref]
	w.Header().Set("Docker-Content-Digest", d)
	w.Header().Set("Location", "/v2/"+repo+"manifests/"+d)
	w.WriteHeader(http.StatusCreated)
}

// complete reports whether everything is there that a manifest names. Its subject need
// not be. What is no descriptor is passed over.
func (o *odd) complete(repo string, manifest []byte) bool {
	var m struct {
		Config            json.RawMessage
		Layers, Manifests []json.RawMessage
	}
	if json.Unmarshal(manifest, &m) != nil {
		return false
	}
	lacks := func(raw json.RawMessage) bool {
		var d ocispec.Descriptor
		return json.Unmarshal(raw, &d) == nil && d.Digest.Validate() == nil &&
			o.blobs[repo+d.Digest.String()] == nil && o.docs[repo+d.Digest.String()].data == nil
	}
	return !lacks(m.Config) && !slices.ContainsFunc(m.Layers, lacks) && !slices.ContainsFunc(m.Manifests, lacks)
}

// deleteManifest deletes a manifest and the tags that mean it.
func (o *odd) deleteManifest(w http.ResponseWriter, repo, ref string) {
	doc, there := o.docs[repo+ref]
	if !there || !strings.HasPrefix(ref, "sha256:") {
		refuseWith(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	maps.DeleteFunc(o.docs, func(key string, d document) bool {
		return strings.HasPrefix(key, repo) && bytes.Equal(d.data, doc.data)
	})
	w.WriteHeader(http.StatusAccepted)
}

func (o *odd) start(w http.ResponseWriter, r *http.Request, repo string) {
	mount := r.URL.Query().Get("mount")
	if data := o.blobs[r.URL.Query().Get("from")+"/"+mount]; data != nil {
		o.blobs[repo+"/"+mount] = data
		w.Header().Set("Location", "/v2/"+repo+"/blobs/"+mount)
		w.WriteHeader(http.StatusCreated)
		return
	}
	o.uploads++
	w.Header().Set("Location", fmt.Sprintf("http://%s/v2/%s/blobs/uploads/u%d", r.Host, repo, o.uploads))
	w.WriteHeader(http.StatusAccepted)
}

func (o *odd) finish(w http.ResponseWriter, r *http.Request, repo, upload string, body []byte) {
	d := r.URL.Query().Get("digest")
	if !strings.HasPrefix(upload, "u") || digest.FromBytes(body).String() != d {
		refuseWith(w, http.StatusBadRequest, "DIGEST_INVALID")
		return
	}
	o.blobs[repo+"/"+d] = body
	w.Header().Set("Docker-Content-Digest", d)
	w.Header().Set("Location", "/v2/"+repo+"/blobs/"+d)
	w.WriteHeader(http.StatusCreated)
}

// refuseWith answers with one of the specification's error codes.
func refuseWith(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"the registry's own words"}]}`, code)
}
