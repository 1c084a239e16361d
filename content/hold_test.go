package content_test

import (
	"testing"

	"github.com/containerd/containerd/v2/core/leases"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
)

func TestHold(t *testing.T) {
	ctx, s := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a"}})
	idx := storetest.NewIndex(img.Manifest.On("linux", "amd64", ""))
	s.Put(ctx, t, append(img.Blobs(), idx)...)
	s.Name(ctx, t, "docker.io/library/app:latest", idx.Descriptor)
	base, err := content.Resolve(ctx, s.Client, "app", amd64)
	if err != nil {
		t.Fatal(err)
	}
	leased, release, err := lease.New(ctx, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	if err := content.Hold(leased, s.Client, base); err != nil {
		t.Fatal(err)
	}
	if _, err := removeNames(ctx, s, []string{"app"}, false); err != nil {
		t.Fatal(err)
	}
	s.Collect(ctx, t)
	if n := len(s.Blobs(ctx, t)); n != 4 {
		t.Errorf("%d of 4 blobs survived", n)
	}
	if err := release(ctx, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Blobs(ctx, t)); n != 0 {
		t.Errorf("%d blobs left", n)
	}
}
