package content_test

import (
	"testing"

	"github.com/containerd/containerd/v2/core/leases"

	"github.com/veneer-build/veneer/content"
	"github.com/veneer-build/veneer/content/internal/storetest"
	"github.com/veneer-build/veneer/content/lease"
)

// TestCopy: a copy is whole, also where a part was there already, and the lease alone
// holds it.
func TestCopy(t *testing.T) {
	ctx, s := storetest.Open(t)
	fromCtx, from := storetest.Open(t)
	img := storetest.NewImage(storetest.Spec{Files: []string{"a", "b"}})
	from.Put(fromCtx, t, img.Blobs()...)
	found, err := content.ResolveTarget(fromCtx, from.ContentStore(), img.Manifest.Descriptor, amd64)
	if err != nil {
		t.Fatal(err)
	}
	leased, release, err := lease.New(ctx, s.LeasesService())
	if err != nil {
		t.Fatal(err)
	}
	s.Put(leased, t, img.Blobs()[0])
	for range 2 {
		if err := content.Copy(leased, s.Client, from.ContentStore(), found); err != nil {
			t.Fatal(err)
		}
	}
	s.Collect(ctx, t)
	copied, err := content.ResolveTarget(ctx, s.ContentStore(), img.Manifest.Descriptor, amd64)
	if err != nil || len(copied.Missing) > 0 {
		t.Fatalf("%v, missing %v", err, copied.Missing)
	}
	if err := release(ctx, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Blobs(ctx, t)); n != 0 {
		t.Errorf("%d blobs left", n)
	}
}
