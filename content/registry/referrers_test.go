package registry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/registry"
)

const (
	artifactType = "application/vnd.example.delta.v1"
	referRepo    = "team/app"
)

// referSubject is what the artifacts of the tests are about.
func referSubject() storetest.Image { return oddImage() }

// referTag is the list's place in an odd registry.
func referTag() string {
	return referRepo + "/" + strings.Replace(referSubject().Manifest.Digest.String(), ":", "-", 1)
}

// newReferrer is an artifact about a subject. Like a delta it has the subject's manifest
// as a layer.
func newReferrer(subject storetest.Blob, artifactType, text string) storetest.Image {
	img := storetest.NewArtifact(artifactType, text)
	img.Layers = append(img.Layers, subject)
	d := subject.Descriptor
	img.Manifest = storetest.JSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: img.Config.Descriptor, Layers: []ocispec.Descriptor{img.Layers[0].Descriptor, d}, Subject: &d,
		Annotations: map[string]string{"text": text},
	})
	return img
}

// pushReferrer pushes an artifact from a store of its own.
func pushReferrer(t *testing.T, name string, img storetest.Image, opts registry.Options) error {
	t.Helper()
	return pushReferrers(t, name, opts, img)[0]
}

// pushReferrers pushes artifacts from one store, and returns their errors.
func pushReferrers(t *testing.T, name string, opts registry.Options, imgs ...storetest.Image) []error {
	t.Helper()
	ctx, store := storetest.Open(t)
	var errs []error
	for _, img := range imgs {
		store.Put(ctx, t, img.Blobs()...)
		entry, err := registry.PushArtifact(ctx, store.ContentStore(), name, img.Manifest.Descriptor, opts)
		if err == nil && (entry.Digest != img.Manifest.Digest || entry.ArtifactType == "" || entry.Annotations["text"] == "") {
			t.Errorf("pushed %+v", entry)
		}
		errs = append(errs, err)
	}
	checkNothingOpen(ctx, t, store)
	return errs
}

func digests(list []ocispec.Descriptor) []digest.Digest {
	all := []digest.Digest{}
	for _, d := range list {
		all = append(all, d.Digest)
	}
	return all
}

// TestReferrerOddities: artifacts are pushed, listed and removed as each registry has it.
func TestReferrerOddities(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(referring)) {
		t.Run(name, func(t *testing.T) { referOdd(t, name) })
	}
}

func referOdd(t *testing.T, name string) {
	t.Helper()
	row, o := referring[name], newOdd(t, name)
	if row.refers.before != nil {
		row.refers.before(o)
	}
	opts := oddOptions(t, o, false)
	subject := referSubject().Manifest
	other := newReferrer(subject, "application/vnd.example.other", "other")
	a, b := newReferrer(subject, artifactType, "a"), newReferrer(subject, artifactType, "b")
	imgs := []storetest.Image{a, other, b, a}
	for _, err := range pushReferrers(t, o.host+"/"+referRepo+":1", opts, imgs...) {
		ended(t, "push", err, row.refers.push)
	}
	for _, img := range imgs {
		if lacks := o.lacks(referRepo, img.Manifest.Digest.String(), img); lacks != "" {
			t.Errorf("the registry lacks the %s", lacks)
		}
	}
	if tag := o.docs[referTag()].data != nil; tag != row.refers.tag {
		t.Errorf("there is a list under the tag: %v, want %v:\n%s", tag, row.refers.tag, strings.Join(o.requests, "\n"))
	}
	list, err := registry.Referrers(t.Context(), o.host+"/"+referRepo, subject.Digest, artifactType, opts)
	want := []digest.Digest{a.Manifest.Digest, b.Manifest.Digest}
	if row.refers.lost {
		want = want[:0]
	}
	if ended(t, "list", err, row.refers.list) {
		checkDigests(t, list, want, row.refers.tag)
		removeOdd(t, o, row, a.Manifest.Digest, want)
	}
	if row.check != nil {
		row.check(t, o)
	}
}

// checkDigests compares a list. An API may have another order than a tag.
func checkDigests(t *testing.T, list []ocispec.Descriptor, want []digest.Digest, ordered bool) {
	t.Helper()
	got, want := digests(list), slices.Clone(want)
	if !ordered {
		slices.Sort(got)
		slices.Sort(want)
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
}

func removeOdd(t *testing.T, o *odd, row oddity, a digest.Digest, want []digest.Digest) {
	t.Helper()
	opts, subject := oddOptions(t, o, false), referSubject().Manifest.Digest
	name := o.host + "/" + referRepo
	removed, err := registry.RemoveReferrers(t.Context(), name, subject, []digest.Digest{a, digest.FromString("nowhere")}, opts)
	if err != nil {
		t.Fatal(err)
	}
	if kept := len(removed.Kept) > 0; kept != row.refers.refused || kept != (removed.Refusal != nil) || len(removed.Kept)+len(removed.Deleted) != 2 {
		t.Errorf("removed %+v", removed)
	}
	if stays := o.docs[referRepo+"/"+a.String()].data != nil; stays != row.refers.refused {
		t.Errorf("the artifact is still there: %v", stays)
	}
	if row.refers.tag || !row.refers.refused {
		want = slices.DeleteFunc(slices.Clone(want), func(d digest.Digest) bool { return d == a })
	}
	list, err := registry.Referrers(t.Context(), name, subject, artifactType, opts)
	if err != nil {
		t.Error(err)
	}
	checkDigests(t, list, want, row.refers.tag)
}

// TestReferrersOfNone: no list is an empty one, and what cannot be asked is an error.
func TestReferrersOfNone(t *testing.T) {
	o := newOdd(t, "")
	opts := oddOptions(t, o, false)
	name := o.host + "/" + referRepo
	if list, err := registry.Referrers(t.Context(), name, referSubject().Manifest.Digest, "", opts); err != nil || len(list) != 0 {
		t.Errorf("listed %v, %v", list, err)
	}
	if _, err := registry.Referrers(t.Context(), name, "sha256:short", "", opts); err == nil {
		t.Error("listed the referrers of what is no digest")
	}
	if n := o.count("short"); n != 0 {
		t.Errorf("asked for it %d times", n)
	}
	ctx, store := storetest.Open(t)
	img := storetest.NewArtifact(artifactType, "without a subject")
	store.Put(ctx, t, img.Blobs()...)
	if _, err := registry.PushArtifact(ctx, store.ContentStore(), name, img.Manifest.Descriptor, opts); err == nil || !strings.Contains(err.Error(), "no subject") {
		t.Error(err)
	}
	img = newReferrer(referSubject().Manifest, artifactType, "incomplete")
	store.Put(ctx, t, img.Manifest)
	if _, err := registry.PushArtifact(ctx, store.ContentStore(), name, img.Manifest.Descriptor, opts); !errors.Is(err, registry.ErrLacks) && !strings.Contains(fmt.Sprint(err), "lacks content") {
		t.Error(err)
	}
	if n := o.count("PUT", "/manifests/"); n != 0 {
		t.Errorf("%d manifests were sent without their blobs", n)
	}
}

// TestReferrersWithLogin: each request has the credentials that it needs, and gets a
// token where it has to.
func TestReferrersWithLogin(t *testing.T) {
	for _, how := range []authority{{}, {root: true}, {challenges: []string{"BASIC"}}, {revoke: 6}} {
		o := newOddWith(t, wrap(how.wrap).then(api{}.wrap))
		opts := oddOptions(t, o, true)
		img := newReferrer(referSubject().Manifest, artifactType, "a")
		name := o.host + "/" + referRepo
		if err := pushReferrer(t, name, img, opts); err != nil {
			t.Errorf("%+v: %v", how, err)
		}
		list, err := registry.Referrers(t.Context(), name, referSubject().Manifest.Digest, artifactType, opts)
		if err != nil || len(list) != 1 {
			t.Errorf("%+v: listed %v, %v", how, list, err)
		}
		removed, err := registry.RemoveReferrers(t.Context(), name, referSubject().Manifest.Digest, digests(list), opts)
		if err != nil || len(removed.Deleted) != 1 {
			t.Errorf("%+v: removed %+v, %v", how, removed, err)
		}
	}
}

// TestReferrersOfMirrors: what a mirror lacks or has wrong is asked of the registry, and
// nothing is written to a mirror.
func TestReferrersOfMirrors(t *testing.T) {
	for _, name := range []string{"referrers-none", "mirror-page", "mirror-500", "mirror-401", "unavailable", "tag-other"} {
		for _, has := range []string{"referrers-none", "referrers-silent"} {
			mirror, behind := newOdd(t, name), newOdd(t, has)
			opts := oddOptions(t, behind, false)
			dir := t.TempDir()
			opts.HostsDirs = []string{dir}
			write(t, filepath.Join(dir, "registry.invalid", "hosts.toml"), fmt.Sprintf(
				"server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\", \"referrers\"]\n", behind.URL, mirror.URL), 0o600)
			img := newReferrer(referSubject().Manifest, artifactType, "a")
			if err := pushReferrer(t, "registry.invalid/"+referRepo, img, opts); err != nil {
				t.Errorf("%s, %s: %v", name, has, err)
			}
			if n := mirror.count("/"); n != 0 {
				t.Errorf("%s: a push made %d requests to a mirror", name, n)
			}
			list, err := registry.Referrers(t.Context(), "registry.invalid/"+referRepo, referSubject().Manifest.Digest, artifactType, opts)
			if err != nil || len(list) != 1 {
				t.Errorf("%s, %s: listed %v, %v", name, has, list, err)
			}
			if mirror.count("ns=registry.invalid") == 0 {
				t.Errorf("%s: the mirror was not asked", name)
			}
		}
	}
}

// TestReferrersRetry: what passes is tried again, and what does not ends.
func TestReferrersRetry(t *testing.T) {
	img := newReferrer(referSubject().Manifest, artifactType, "a")
	for n, match := range []func(*http.Request) bool{
		isReferrers, both(isGet, isTag), both(isPut, isTag), isDelete, func(r *http.Request) bool { return isPut(r) && isManifest(r) && !isTag(r) },
	} {
		o := newOddWith(t, once(2, match, busy("")))
		opts := oddOptions(t, o, false)
		name := o.host + "/" + referRepo
		if err := pushReferrer(t, name, img, opts); err != nil {
			t.Errorf("%d: %v", n, err)
		}
		list, err := registry.Referrers(t.Context(), name, referSubject().Manifest.Digest, artifactType, opts)
		if err != nil || len(list) != 1 {
			t.Errorf("%d: listed %v, %v", n, list, err)
		}
		removed, err := registry.RemoveReferrers(t.Context(), name, referSubject().Manifest.Digest, digests(list), opts)
		if err != nil || len(removed.Deleted) != 1 {
			t.Errorf("%d: removed %+v, %v", n, removed, err)
		}
	}
	o := newOdd(t, "unavailable")
	if _, err := registry.Referrers(t.Context(), o.host+"/"+referRepo, referSubject().Manifest.Digest, "", oddOptions(t, o, false)); err == nil || o.count("/") != 6 {
		t.Errorf("listed by %d requests: %v", o.count("/"), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o = newOdd(t, "")
	if err := func() error {
		_, err := registry.Referrers(ctx, o.host+"/"+referRepo, referSubject().Manifest.Digest, "", oddOptions(t, o, false))
		return err
	}(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestSurplus(t *testing.T) {
	at := func(name string, created string) ocispec.Descriptor {
		d := ocispec.Descriptor{Digest: digest.FromString(name), Annotations: map[string]string{"name": name}}
		if created != "" {
			d.Annotations[ocispec.AnnotationCreated] = created
		}
		return d
	}
	late, early := time.Unix(2e9, 0).Format(time.RFC3339), time.Unix(1e9, 0).UTC().Format(time.RFC3339)
	a, b, c := at("a", ""), at("b", ""), at("c", "yesterday")
	x, y := at("x", late), at("y", early)
	for _, row := range []struct {
		list  []ocispec.Descriptor
		keep  int
		spare []digest.Digest
		want  string
	}{
		{nil, 0, nil, ""},
		{[]ocispec.Descriptor{a, b, c}, 3, nil, ""},
		{[]ocispec.Descriptor{a, b, c}, 9, nil, ""},
		{[]ocispec.Descriptor{a, b, c}, 1, nil, "ab"},
		{[]ocispec.Descriptor{a, b, c}, 0, nil, "abc"},
		{[]ocispec.Descriptor{x, y, a}, 2, nil, "a"},
		{[]ocispec.Descriptor{x, y, a}, 1, nil, "ay"},
		{[]ocispec.Descriptor{x, y, a}, 1, []digest.Digest{a.Digest}, "yx"},
		{[]ocispec.Descriptor{x, y}, 0, []digest.Digest{x.Digest, y.Digest}, ""},
	} {
		got := ""
		for _, d := range registry.Surplus(row.list, row.keep, row.spare...) {
			got += d.Annotations["name"]
		}
		if got != row.want {
			t.Errorf("of %d keep %d: remove %q, want %q", len(row.list), row.keep, got, row.want)
		}
	}
}
