package registry

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The examples of the specification, "Referrers Tag Schema".
func TestReferrersTag(t *testing.T) {
	for d, want := range map[digest.Digest]string{
		digest.Digest("sha256:" + strings.Repeat("a", 64)):  "sha256-" + strings.Repeat("a", 64),
		digest.Digest("sha512:" + strings.Repeat("a", 128)): "sha512-" + strings.Repeat("a", 64),
		"test+algorithm+using+algorithm+separators+and+lots+of+characters+to+excercise+overall+truncation:alsoSome=InTheEncodedSectionToShowHyphenReplacementAndLotsAndLotsOfCharactersToExcerciseEncodedTruncation": "test-algorithm-using-algorithm-s-alsoSome-InTheEncodedSectionToShowHyphenReplacementAndLotsAndLot",
	} {
		if got := referrersTag(d); got != want {
			t.Errorf("%s: tag %s, want %s", d, got, want)
		}
	}
}

func TestParseReferrers(t *testing.T) {
	for text, fine := range map[string]bool{
		`{"manifests":[]}`:   true,
		`{"manifests":null}`: true,
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[1,"",null,{}],"x":1}`: true,
		``:                                   false,
		`null`:                               false,
		`[]`:                                 false,
		`{}`:                                 false,
		`{"manifests":{}}`:                   false,
		`{"manifests":[],"layers":[]}`:       false,
		`{"manifests":[],"config":{}}`:       false,
		`{"Manifests":[]}`:                   false,
		`{"manifests":[],"manifests":[]}`:    false,
		`{"manifests":[]}{}`:                 false,
		`{"mediaType":1,"manifests":[]}`:     false,
		`{"mediaType":"a/b","manifests":[]}`: false,
	} {
		l, err := parseReferrers([]byte(text))
		if err == nil != fine || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil && len(l.descriptors()) != 0 {
			t.Errorf("%s: %v", text, l.descriptors())
		}
	}
}

// An entry is added once and removed, and the rest is as it was.
func TestEditReferrers(t *testing.T) {
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("d"), Size: 1, Annotations: map[string]string{"a": "<b>"}}
	for _, before := range []string{
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`,
		`{"x":1.0,"manifests":[{"digest":"x","size":1e3},null,[7]],"annotations":{"é":"<>"}}`,
	} {
		l, err := parseReferrers([]byte(before))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []bool{true, false} {
			if added, err := l.add(d); err != nil || added != want {
				t.Errorf("added %v, %v", added, err)
			}
		}
		data, err := l.encode()
		if err != nil || !strings.Contains(string(data), `"a":"<b>"`) {
			t.Errorf("%s: %s, %v", before, data, err)
		}
		if l, err = parseReferrers(data); err != nil || len(l.descriptors()) != 1 || l.descriptors()[0].Digest != d.Digest {
			t.Errorf("%s: %v", data, err)
		}
		if !l.remove(digest.FromString("other"), d.Digest) || l.remove(d.Digest) {
			t.Errorf("%s: removed otherwise than once", data)
		}
		if data, err = l.encode(); err != nil || string(data) != before {
			t.Errorf("%s is now %s, %v", before, data, err)
		}
	}
	l := newReferrers()
	d.Annotations["a"] = strings.Repeat("x", maxReferrersDocument)
	if _, err := l.add(d); err != nil {
		t.Fatal(err)
	}
	if _, err := l.encode(); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a list that no registry takes: %v", err)
	}
}

func TestNextPage(t *testing.T) {
	h := docker.RegistryHost{Scheme: "https", Host: "r.example:5000", Path: "/v2"}
	asked, err := url.Parse("https://r.example:5000/v2/a/referrers/d?artifactType=t")
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]string{
		"":                                         "",
		`</v2/a/referrers/d?n=1>; rel="next"`:      "https://r.example:5000/v2/a/referrers/d?n=1",
		`</v2/a/referrers/d?n=1>;rel=next`:         "https://r.example:5000/v2/a/referrers/d?n=1",
		`<?n=2>; title="x"; rel="next"`:            "https://r.example:5000/v2/a/referrers/d?n=2",
		`</p>; rel="prev", </n>; rel="next"`:       "https://r.example:5000/n",
		`</p>; rel="prev"`:                         "",
		`<http://r.example:5000/v2/x>; rel="next"`: "https://r.example:5000/v2/x",
		`<https://user:secret@R.example:5000/v2/x#frag>; rel="next"`: "https://r.example:5000/v2/x",
		`<https://r.example/v2/x>; rel="next"`:                       "error",
		`<https://elsewhere.example:5000/v2/x>; rel="next"`:          "error",
		`<//elsewhere.example:5000/v2/x>; rel="next"`:                "error",
		`<:>; rel="next"`:                  "error",
		`<file:///etc/passwd>; rel="next"`: "error",
	} {
		a := answer{Response: &http.Response{Header: http.Header{"Link": {link}}, Request: &http.Request{URL: asked}}}
		u, err := a.next(h)
		got := ""
		switch {
		case err != nil:
			got = "error"
		case u != nil:
			got = u.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s (%v)", link, got, want, err)
		}
	}
}

// FuzzReferrers: a list that can be read can be written, and keeps all of its entries.
func FuzzReferrers(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"mediaType":"a","digest":"sha256:` + strings.Repeat("a", 64) + `","size":1,"urls":["x"],"data":"eA=="},7]}`))
	f.Add([]byte(`{"x":1.0,"manifests":[{"digest":"x","size":1e3},null,[7]],"annotations":{"é":"<>"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseReferrers(data)
		if err != nil {
			return
		}
		before := l.descriptors()
		if _, err := l.add(ocispec.Descriptor{MediaType: "a", Digest: digest.FromString("new"), Size: 1}); err != nil {
			t.Fatal(err)
		}
		out, err := l.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseReferrers(out)
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if len(again.entries) != len(l.entries) {
			t.Errorf("%d entries of %d", len(again.entries), len(l.entries))
		}
		after := again.descriptors()
		if len(after) < len(before) || !slices.EqualFunc(before, after[:len(before)], func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest && a.Size == b.Size }) {
			t.Errorf("%v became %v", before, after)
		}
	})
}
