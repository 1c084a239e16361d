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
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/storetest"
)

// refers is what becomes of artifacts about an image.
type refers struct {
	push, list string // parts of the errors; "" is success
	tag        bool   // the list is under the tag
	lost       bool   // nothing is listed
	refused    bool   // nothing is deleted
	// before puts something into the registry.
	before func(o *odd)
}

func isReferrers(r *http.Request) bool { return strings.Contains(r.URL.Path, "/referrers/") }
func isDelete(r *http.Request) bool    { return r.Method == http.MethodDelete }
func isTag(r *http.Request) bool       { return strings.Contains(r.URL.Path, "/manifests/sha256-") }

// api is a registry's API for referrers. Its zero value is that of the specification.
// It lists by digest, not by age.
type api struct {
	silent     bool // does not say that it has seen a subject
	unfiltered bool // lists all types, and says so
	lies       bool // lists all types, and says that it has not
	bare       bool // leaves out types and annotations
	page       int  // entries of a page; 0: all
	// link is the form of a next page's address. PATH and HOST in it are the registry's.
	link string
}

func (a api) wrap(o *odd, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repo, subject, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/referrers/")
		if ok {
			a.list(o, w, r, repo, digest.Digest(subject))
			return
		}
		if isPut(r) && isManifest(r) && !a.silent {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			var m ocispec.Manifest
			if json.Unmarshal(body, &m) == nil && m.Subject != nil {
				w.Header().Set("OCI-Subject", m.Subject.Digest.String())
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (a api) list(o *odd, w http.ResponseWriter, r *http.Request, repo string, subject digest.Digest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	want := r.URL.Query().Get("artifactType")
	list := []ocispec.Descriptor{}
	for _, key := range slices.Sorted(maps.Keys(o.docs)) {
		var m ocispec.Manifest
		data := o.docs[key].data
		if !strings.HasPrefix(key, repo+"/sha256:") || json.Unmarshal(data, &m) != nil || m.Subject == nil || m.Subject.Digest != subject {
			continue
		}
		d := ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data)),
			ArtifactType: m.ArtifactType, Annotations: m.Annotations,
		}
		if want != "" && m.ArtifactType != want && !a.unfiltered && !a.lies {
			continue
		}
		if a.bare {
			d.ArtifactType, d.Annotations = "", nil
		}
		list = append(list, d)
	}
	if want != "" && !a.unfiltered {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if from, _ := strconv.Atoi(r.URL.Query().Get("from")); a.page > 0 && len(list) > 0 {
		list = list[from%len(list):]
		if len(list) > a.page || strings.HasPrefix(a.link, "endless") {
			list = list[:a.page]
			path := fmt.Sprintf("%s?artifactType=%s&from=%d", r.URL.Path, want, from+a.page)
			link := strings.NewReplacer("endless", "", "PATH", path, "HOST", r.Host).Replace(a.link)
			w.Header().Set("Link", "<"+link+`>; title="a, b"; rel="next"`)
		}
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	_, _ = w.Write(storetest.NewIndex(list...).Bytes)
}

// conditions keeps to the conditions of writes (RFC 9110, section 13). Another client
// writes between the first read and what follows.
func conditions(o *odd, next http.Handler) http.Handler {
	read := first(1, both(isGet, isTag))
	etag := func(r *http.Request) string {
		o.mu.Lock()
		defer o.mu.Unlock()
		repo, tag, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
		if doc := o.docs[repo+"/"+tag]; doc.data != nil {
			return `"` + digest.FromBytes(doc.data).String() + `"`
		}
		return ""
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		was := etag(r)
		match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
		switch {
		case !isTag(r):
		case isPut(r) && (match != "" && match != was || none == "*" && was != ""):
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		case was != "":
			w.Header().Set("ETag", was)
		}
		next.ServeHTTP(w, r)
		if read(r) {
			o.strangers(r)
		}
	})
}

// strangers puts a list of another program under the tag that a request is for.
func (o *odd) strangers(r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	repo, tag, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
	o.docs[repo+"/"+tag] = document{ocispec.MediaTypeImageIndex, []byte(strangersList)}
	o.docs[repo+"/sha256:"+strangersDigest] = document{ocispec.MediaTypeImageManifest, []byte("{}   ")}
}

// strangersList has what later specifications may have, and entries that are wrong.
const strangersList = `{"schemaVersion":2, "later":{"a":1.0e2},"manifests":[{"digest":"sha256:short","x":[ 1 ]},7,` +
	`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strangersDigest + `","size":5,"artifactType":"application/vnd.example.other","later":"<&>"}` +
	`],"annotations":{"b":"c"}}`

const strangersDigest = "0123456789012345678901234567890123456789012345678901234567890123"

// checkStrangers: what is another program's is as it was.
func checkStrangers(t *testing.T, o *odd) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	from, to, _ := strings.Cut(strangersList, `],"annotations"`)
	got := string(o.docs[referTag()].data)
	if !strings.HasPrefix(got, from[:1]+`"schemaVersion":2,"later":{"a":1.0e2},"manifests":[{"digest":"sha256:short","x":[1]},7,`) ||
		!strings.Contains(got, `"later":"<&>"}`) || !strings.HasSuffix(got, `],"annotations"`+to) {
		t.Errorf("the list is now %s", got)
	}
}

// overwritten forgets the first list that is written, as another client does that read
// before and writes afterwards.
func overwritten(o *odd, next http.Handler) http.Handler {
	write := first(1, both(isPut, isTag))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if write(r) {
			o.strangers(r)
		}
	})
}

// conditional answers writes with a condition by a status.
func conditional(code int) wrap {
	return status(func(r *http.Request) bool {
		return isPut(r) && r.Header.Get("If-Match")+r.Header.Get("If-None-Match") != ""
	}, code)
}

// tagged puts something under the tag of the list.
func tagged(mediaType, data string) func(o *odd) {
	return func(o *odd) {
		o.docs[referTag()] = document{mediaType, []byte(data)}
		o.docs[referRepo+"/sha256:"+strangersDigest] = document{ocispec.MediaTypeImageManifest, []byte("{}   ")}
	}
}

// goneList has an artifact that is not in the registry any more.
var goneList = strings.ReplaceAll(strangersList, strangersDigest, strings.Repeat("ab", 32))

// referring are the oddities of artifacts.
var referring = map[string]oddity{
	"referrers-none":     {wrap: func(_ *odd, next http.Handler) http.Handler { return next }, refers: &refers{tag: true}},
	"referrers-400":      {wrap: status(isReferrers, 400), refers: &refers{tag: true}},
	"referrers-405":      {wrap: status(isReferrers, 405), refers: &refers{tag: true}},
	"referrers-406":      {wrap: status(isReferrers, 406), refers: &refers{tag: true}},
	"referrers-501":      {wrap: status(isReferrers, 501), refers: &refers{tag: true}},
	"referrers-page":     {wrap: instead(isReferrers, page), refers: &refers{tag: true}},
	"referrers-403":      {wrap: status(isReferrers, 403), refers: &refers{tag: true, list: "access denied"}},
	"referrers-silent":   {wrap: api{silent: true}.wrap, refers: &refers{}},
	"referrers-all":      {wrap: api{unfiltered: true}.wrap, refers: &refers{}},
	"referrers-lies":     {wrap: api{lies: true}.wrap, refers: &refers{}},
	"referrers-bare":     {wrap: api{bare: true}.wrap, refers: &refers{}},
	"referrers-json":     {wrap: header(isReferrers, "Content-Type", "application/json").then(api{}.wrap), refers: &refers{}},
	"referrers-pages":    {wrap: api{page: 1, link: "PATH"}.wrap, refers: &refers{}},
	"referrers-scheme":   {wrap: api{page: 1, link: "https://HOSTPATH"}.wrap, refers: &refers{}},
	"referrers-host":     {wrap: api{page: 1, link: "http://registry.invalidPATH"}.wrap, refers: &refers{list: "on another host"}},
	"referrers-endless":  {wrap: api{page: 1, link: "endlessPATH"}.wrap, refers: &refers{list: "does not end"}, check: requests(64, "/referrers/")},
	"referrers-cut":      {wrap: edited(isReferrers, halved).then(api{}.wrap), refers: &refers{list: "parse JSON"}},
	"referrers-too-many": {wrap: edited(isReferrers, flooded).then(api{}.wrap), refers: &refers{list: "more than 10000 elements"}},

	"tag-other":          {wrap: status(isReferrers, 404), refers: &refers{tag: true, push: "is no list of referrers", lost: true, before: tagged(ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"config":{},"layers":[]}`)}},
	"tag-strange":        {wrap: status(isReferrers, 404), refers: &refers{tag: true, before: tagged(ocispec.MediaTypeImageIndex, strangersList)}, check: checkStrangers},
	"tag-gone":           {wrap: status(isReferrers, 404), refers: &refers{tag: true, before: tagged(ocispec.MediaTypeImageIndex, goneList)}},
	"tag-overwritten":    {wrap: overwritten, refers: &refers{tag: true}, check: checkStrangers},
	"tag-conditions":     {wrap: conditions, refers: &refers{tag: true}, check: checkStrangers},
	"tag-conditions-412": {wrap: conditional(412), refers: &refers{tag: true}},
	"tag-conditions-304": {wrap: conditional(304), refers: &refers{tag: true}},

	"delete-400": {wrap: status(isDelete, 400).then(api{}.wrap), refers: &refers{refused: true}},
	"delete-403": {wrap: status(isDelete, 403), refers: &refers{tag: true, refused: true}},
	"delete-405": {wrap: status(isDelete, 405), refers: &refers{tag: true, refused: true}},
	"delete-501": {wrap: status(isDelete, 501).then(api{}.wrap), refers: &refers{refused: true}},
}

// halved sends half of a list.
func halved(_ *odd, _ *http.Request, a *httptest.ResponseRecorder) { a.Body.Truncate(a.Body.Len() / 2) }

// flooded sends a list of more entries than anybody needs.
func flooded(_ *odd, _ *http.Request, a *httptest.ResponseRecorder) {
	a.Body.Reset()
	_, _ = a.Body.WriteString(`{"schemaVersion":2,"manifests":[` + strings.Repeat("{},", 10_000) + "{}]}")
}
