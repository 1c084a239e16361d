package registry_test

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
	"github.com/veneer-build/veneer/content/registry"
	"github.com/veneer-build/veneer/test/harness"
)

// TestReferrersOfDistribution: the registry that most people run has no API for
// referrers, and wants the subject to be there whose manifest is a layer.
func TestReferrersOfDistribution(t *testing.T) {
	for _, how := range []harness.RegistryOptions{{}, {NoDelete: true, Auth: true}} {
		r := harness.NewRegistryWith(t, how)
		opts := options(t)
		if how.Auth {
			auth := base64.StdEncoding.EncodeToString([]byte(harness.RegistryUser + ":" + harness.RegistryPassword))
			write(t, filepath.Join(opts.DockerConfig, "config.json"), fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.Addr(), auth), 0o600)
		}
		name := r.Addr() + "/team/app:1"
		subject := pushSubject(t, name, opts)
		var all []digest.Digest
		for _, text := range []string{"a", "b", "c"} {
			img := newReferrer(subject, artifactType, text)
			if err := pushReferrer(t, name, img, opts); err != nil {
				t.Fatal(err)
			}
			all = append(all, img.Manifest.Digest)
		}
		list, err := registry.Referrers(t.Context(), name, subject.Digest, artifactType, opts)
		if err != nil {
			t.Fatal(err)
		}
		checkDigests(t, list, all, true)
		surplus := registry.Surplus(list, 1)
		removed, err := registry.RemoveReferrers(t.Context(), name, subject.Digest, digests(surplus), opts)
		if err != nil || !how.NoDelete && !slices.Equal(removed.Deleted, all[:2]) || how.NoDelete && (!slices.Equal(removed.Kept, all[:2]) || removed.Refusal == nil) {
			t.Errorf("%+v: removed %+v, %v", how, removed, err)
		}
		if list, err = registry.Referrers(t.Context(), name, subject.Digest, artifactType, opts); err != nil {
			t.Fatal(err)
		}
		checkDigests(t, list, all[2:], true)
		checkPulled(t, name, list[0].Digest, opts)
	}
}

// pushSubject pushes an image, and returns its manifest.
func pushSubject(t *testing.T, name string, opts registry.Options) storetest.Blob {
	t.Helper()
	img := referSubject()
	ctx, store := storetest.Open(t)
	stored(ctx, t, store, img, name)
	if _, err := registry.Push(ctx, store.Client, name, opts); err != nil {
		t.Fatal(err)
	}
	return img.Manifest
}

// checkPulled fetches an artifact as a pull does that wants a delta of an image: its
// manifest, and its blobs, of which one has the type of a manifest.
func checkPulled(t *testing.T, name string, artifact digest.Digest, opts registry.Options) {
	t.Helper()
	ctx, store := storetest.Open(t)
	ctx, release, err := lease.New(ctx, store.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := release(ctx); err != nil {
			t.Error(err)
		}
	}()
	remote, err := registry.Open(ctx, store.Client, name, opts)
	if err != nil {
		t.Fatal(err)
	}
	list, err := remote.Referrers(ctx, remote.Target.Digest, artifactType)
	if err != nil || len(list) != 1 || list[0].Digest != artifact {
		t.Fatalf("listed %v, %v", list, err)
	}
	if err := remote.Fetch(ctx, list[0]); err != nil {
		t.Fatal(err)
	}
	m, err := content.ReadArtifact(ctx, store.ContentStore(), list[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range m.Layers {
		if err := remote.Fetch(ctx, b); err != nil {
			t.Error(err)
		}
	}
}

// TestReferrersAtTheSameTime: of several clients that push artifacts about one image,
// none loses another's. They know nothing of each other, and neither does the registry.
func TestReferrersAtTheSameTime(t *testing.T) {
	r := harness.NewRegistry(t)
	opts := options(t)
	opts.Backoff = 300 * time.Millisecond // much longer than from reading a list to writing it here, on a busy machine too
	name := r.Addr() + "/team/app:1"
	subject := pushSubject(t, name, opts)
	var all []digest.Digest
	var wait sync.WaitGroup
	for n := range 8 {
		img := newReferrer(subject, artifactType, fmt.Sprint("artifact ", n))
		all = append(all, img.Manifest.Digest)
		wait.Go(func() {
			if err := pushReferrer(t, name, img, opts); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	list, err := registry.Referrers(t.Context(), name, subject.Digest, artifactType, opts)
	if err != nil {
		t.Fatal(err)
	}
	checkDigests(t, list, all, false)
	// Half of them are removed at the same time as others are pushed again.
	for n, d := range all {
		wait.Go(func() {
			var err error
			if n%2 == 0 {
				_, err = registry.RemoveReferrers(t.Context(), name, subject.Digest, []digest.Digest{d}, opts)
			} else {
				err = pushReferrer(t, name, newReferrer(subject, artifactType, fmt.Sprint("artifact ", n)), opts)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if list, err = registry.Referrers(t.Context(), name, subject.Digest, artifactType, opts); err != nil {
		t.Fatal(err)
	}
	want := slices.DeleteFunc(slices.Clone(all), func(d digest.Digest) bool { return slices.Index(all, d)%2 == 0 })
	checkDigests(t, list, want, false)
}
